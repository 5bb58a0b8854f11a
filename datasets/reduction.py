"""Images made smaller before they are warped: a warp looks at few pixels, and of what it reduces it leaves some out."""

import cv2
import numpy as np
from numpy.typing import NDArray


def reduced(image: NDArray[np.uint8], side: float, least: float) -> NDArray[np.uint8]:
    """A square image (S, S, 3) that is about to be warped to another size, at that size if it is much smaller.

    Args:
        side: that the image is going to have.
        least: sides over S below which the image is reduced.
    """
    if side >= least * len(image):
        return image
    small = max(4, round(side))
    return np.asarray(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), dtype=np.uint8)
