"""The 98 landmarks of WFLW: how many there are, and which ones measure a face."""

N_LANDMARKS = 98
#: Side of the face crops in pixels.
CROP_SIZE = 256
#: Outer corners of the left and right eye: their distance is the unit of NME.
OUTER_EYE_CORNERS = (60, 72)

#: Which landmarks are drawn as one line: (first, last, closed), both ends included.
CURVES = (
    (0, 32, False),  # outline, from ear level over the chin
    (33, 41, True),  # left brow
    (42, 50, True),  # right brow
    (51, 54, False),  # nose, down the ridge
    (55, 59, False),  # nose, below
    (60, 67, True),  # left eye
    (68, 75, True),  # right eye
    (76, 87, True),  # lips, outer
    (88, 95, True),  # lips, inner
)

_MIRRORED_PAIRS = (
    *((index, 32 - index) for index in range(16)),  # outline
    *((33 + index, 46 - index) for index in range(5)),  # brows, upper edge
    *((38 + index, 50 - index) for index in range(4)),  # brows, lower edge
    (55, 59),
    (56, 58),  # nose, below
    *((60 + index, 72 - index) for index in range(5)),  # eyes, upper lid
    *((65 + index, 75 - index) for index in range(3)),  # eyes, lower lid
    *((76 + index, 82 - index) for index in range(3)),  # upper lip, outer edge
    *((83 + index, 87 - index) for index in range(2)),  # lower lip, outer edge
    *((88 + index, 92 - index) for index in range(2)),  # upper lip, inner edge
    (93, 95),  # lower lip, inner edge
    (96, 97),  # pupils
)
_PARTNER = {one: other for pair in _MIRRORED_PAIRS for one, other in (pair, pair[::-1])}

#: Which landmark each one is in the face's mirror image; those on the middle line stay.
MIRRORED = tuple(_PARTNER.get(index, index) for index in range(N_LANDMARKS))
