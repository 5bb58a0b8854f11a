"""Shot changes: where one camera's image gives way to another's."""

import cv2
import numpy as np
from numpy.typing import NDArray


class ShotDetector:
    """Tells of each frame whether a new shot begins with it, from thumbnails alone.

    Moving cameras and people change what is where little from frame to frame: thumbnails of 48x27 correlate by 0.9 and
    more, and by 0.7 even at a fifth of the frame rate. Those of two shots hardly do, unless both show a head in the
    middle; then their colours differ. Flashes and exposure change brightness, which correlation does not see. Images
    without a pattern (black, white, dark with noise) tell nothing, and are passed over: the next is compared with the
    last that had one.

    Args:
        other_image: thumbnails that correlate less are of two shots.
        same_image: thumbnails that correlate more are of one shot; between the two the colours decide.
        other_colours: Hellinger distance of colour histograms, in [0, 1], that makes two shots.
    """

    SIZE = (48, 27)
    BINS = 8
    #: Thumbnails that vary by less, in grey levels, have no pattern.
    FLAT = 2.0

    def __init__(self, other_image: float = 0.35, same_image: float = 0.7, other_colours: float = 0.35) -> None:
        self._other_image = other_image
        self._same_image = same_image
        self._other_colours = other_colours
        self._before: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def is_cut(self, image: NDArray[np.uint8]) -> bool:
        """True where this frame (H, W, 3) RGB begins another shot than the frame before; the first frame does not."""
        small = _thumbnail(image, self.SIZE)
        pattern = small.astype(np.float32)
        pattern -= pattern.mean(axis=(0, 1))
        counts = cv2.calcHist([small], [0, 1, 2], None, [self.BINS] * 3, [0, 256] * 3).ravel()
        colours = np.asarray(counts / counts.sum(), dtype=np.float32)
        if pattern.std() < self.FLAT:
            return False
        before, self._before = self._before, (pattern, colours)
        if before is None:
            return False
        correlation = float((pattern * before[0]).sum() / (np.linalg.norm(pattern) * np.linalg.norm(before[0])))
        distance = float(np.sqrt(max(0.0, 1 - np.sqrt(colours * before[1]).sum())))
        if not self._other_image <= correlation <= self._same_image:
            return correlation < self._other_image
        return distance > self._other_colours


def _thumbnail(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image scaled to ``size`` (width, height). OpenCV halves quickly, and takes long for other scales of areas."""
    while image.shape[1] >= 8 * size[0] and image.shape[0] >= 8 * size[1]:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
