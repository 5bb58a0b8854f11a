"""The 98 landmarks of WFLW: the parts of the face, lines to draw, the mirror image, and which ones are iBUG's 68."""

from pathlib import Path
from typing import TYPE_CHECKING

from ldeq.errors import InputError

if TYPE_CHECKING:  # so that who wants the numbers alone has them at once
    from ldeq.config import ModelConfig

N_LANDMARKS = 98
#: Side of the face crops in pixels.
CROP_SIZE = 256
#: Side of a face crop, relative to the larger side of the face's bounding box.
CROP_SCALE = 1.2
#: Outer corners of the left and right eye: their distance is the unit of NME.
OUTER_EYE_CORNERS = (60, 72)

#: The parts of the face (left is on the left of the image): their landmarks.
PARTS = {
    "outline": range(33),
    "left brow": range(33, 42),
    "right brow": range(42, 51),
    "nose": range(51, 60),
    "left eye": range(60, 68),
    "right eye": range(68, 76),
    "outer lips": range(76, 88),
    "inner lips": range(88, 96),
    "pupils": range(96, 98),
}

#: Lines to draw through the landmarks: (first, last, closed), both ends included.
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

#: The one of the 98 that stands for each of iBUG's 68 landmarks (300-W), in their order. An approximation: iBUG has
#: fewer points on outline and lids, at other places along them, and no lower edges of the brows, so only corners and
#: the nose coincide.
IBUG68 = (
    *range(0, 33, 2),  # outline: every second
    *range(33, 38),  # left brow, upper edge
    *range(42, 47),  # right brow, upper edge
    *range(51, 60),  # nose
    *(60, 61, 63, 64, 65, 67),  # left eye, without the middles of the lids
    *(68, 69, 71, 72, 73, 75),  # right eye
    *range(76, 88),  # lips, outer
    *range(88, 96),  # lips, inner
)
#: As :data:`CURVES`, of the 68.
IBUG68_CURVES = (
    (0, 16, False),
    (17, 21, False),
    (22, 26, False),
    (27, 30, False),
    (31, 35, False),
    (36, 41, True),
    (42, 47, True),
    (48, 59, True),
    (60, 67, True),
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

#: The landmark that each one becomes in the face's mirror image; those on the middle line stay.
MIRRORED = tuple(_PARTNER.get(index, index) for index in range(N_LANDMARKS))


def refuse_other_networks(path: Path, config: "ModelConfig") -> None:
    """Raises InputError where the network in a file is for other landmarks than these, or for other crops."""
    if (config.n_keypoints, config.im_size) != (N_LANDMARKS, CROP_SIZE):
        was = f"{config.n_keypoints} keypoints on crops of {config.im_size} pixels"
        raise InputError(f"{path}: is a network for {was}, expected {N_LANDMARKS} on {CROP_SIZE}")
