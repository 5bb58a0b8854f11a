"""Face crops: from a bounding box to the square image that the network sees, and landmarks back to the frame."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldeq.landmarks98 import CROP_SCALE, CROP_SIZE

#: No coordinate in frame pixels is as large.
FARTHEST = 1e5


def are_boxes(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True for those of (..., 4) boxes that can be cropped around: finite, in frame pixels, of a pixel and more."""
    x1, y1, x2, y2 = np.moveaxis(_rounded(np.where(np.abs(boxes) < FARTHEST, boxes, np.nan)), -1, 0)
    # NaN goes on into the larger side, and is not at least anything.
    return np.asarray(np.maximum(x2 - x1, y2 - y1) >= 1)


def crop_matrix(bbox: ArrayLike, scale: float = CROP_SCALE, size: int = CROP_SIZE) -> NDArray[np.float64]:
    """The affine map from frame pixels to the pixels of a square crop around a box.

    The published system's, to the bit: box rounded to whole pixels, centre (x1 + (x2 − x1 + 1) // 2, …), side
    ``scale`` · max(x2 − x1, y2 − y1), and the matrix from OpenCV's solver on float32 points (one that differs by 1e-5
    moves grey levels).

    Args:
        bbox: x1, y1, x2, y2 (and anything after them) in frame pixels.
        scale: the crop's side relative to the box's larger one.
        size: side of the crop in pixels.

    Returns:
        (2, 3) float64.
    """
    x1, y1, x2, y2 = _rounded(np.asarray(bbox, dtype=np.float64)[:4]).astype(int).tolist()
    centre = (x1 + (x2 - x1 + 1) // 2, y1 + (y2 - y1 + 1) // 2)
    side = scale * max(x2 - x1, y2 - y1)
    middle = (size / 2, size / 2)
    return np.asarray(cv2.getAffineTransform(_right_angle(centre, side), _right_angle(middle, size)), dtype=np.float64)


def _rounded(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """To whole pixels, as the published system rounds."""
    return np.trunc(boxes + 0.5)


def _right_angle(centre: tuple[float, float], side: float) -> NDArray[np.float32]:
    """The centre, the point half a side above it, and the one half a side to the left of that.

    Rounded to float32 once, after the point above has been found in double precision.
    """
    x, y = centre
    middle, above = np.array([(x, y), (x, y - side / 2)], dtype=np.float32)
    drop = middle - above
    return np.stack([middle, above, above + np.array([-drop[1], drop[0]], dtype=np.float32)])


def crop(frame: NDArray[np.uint8], matrix: NDArray[np.float64], size: int = CROP_SIZE) -> NDArray[np.uint8]:
    """Warps a frame (H, W, 3) by a matrix of :func:`crop_matrix`: (size, size, 3), bilinear, black outside."""
    warped: NDArray[np.uint8] = cv2.warpAffine(frame, matrix, (size, size), flags=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return warped


def to_frame(points: ArrayLike, matrix: ArrayLike) -> NDArray[np.float64]:
    """Crop pixels → frame pixels: (..., 2) by the inverse of ``matrix`` (2, 3)."""
    inverse = cv2.invertAffineTransform(np.asarray(matrix, dtype=np.float64))
    frame_points: NDArray[np.float64] = np.asarray(points, dtype=np.float64) @ inverse[:, :2].T + inverse[:, 2]
    return frame_points


@dataclass(frozen=True)
class FaceCrop:
    """A face cut out of a frame, and the way back."""

    #: (256, 256, 3) uint8 RGB.
    image: NDArray[np.uint8]
    #: (2, 3), from frame pixels to crop pixels.
    matrix: NDArray[np.float64]

    @classmethod
    def around(cls, frame: NDArray[np.uint8], bbox: ArrayLike) -> Self:
        """The crop of a frame (H, W, 3) around a box x1, y1, x2, y2 by :func:`crop_matrix`."""
        matrix = crop_matrix(bbox)
        return cls(crop(frame, matrix), matrix)

    def to_frame(self, keypoints: NDArray[np.floating]) -> NDArray[np.float64]:
        """Keypoints (98, 2) in [0, 1), as fractions of the crop, in frame pixels."""
        return to_frame(keypoints * float(self.image.shape[0]), self.matrix)
