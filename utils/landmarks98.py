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
