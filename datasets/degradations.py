"""Degradations of an image that the augmentation and the camera of synthetic faces have in common."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def motion_blur_kernel(length: float, direction: float, fraction_bits: int = 4) -> NDArray[np.float32]:
    """The kernel of a motion blur, of constant speed during the exposure: a line through its middle.

    Args:
        length: of the motion in pixels, 1 or more.
        direction: of the motion in radians, from the first column towards the last and from the first row down.
        fraction_bits: binary digits of the fraction of a pixel that the line's ends are rounded to; 0 rounds them to
            whole pixels.

    Returns:
        (side, side), side the first odd number that is no less than ``length``; the sum is 1.
    """
    # Odd, as a kernel of even length would move the image by half a pixel under its landmarks.
    side = int(np.ceil(length)) | 1
    kernel = np.zeros((side, side), np.float32)
    reach = np.array([np.cos(direction), np.sin(direction)]) * (length - 1) / 2
    ends = np.stack([(side - 1) / 2 - reach, (side - 1) / 2 + reach]) * 2**fraction_bits
    start, end = np.round(ends).astype(int).tolist()
    # OpenCV smooths the edges of lines on images of bytes alone, so there is no use in asking for it.
    cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_8, fraction_bits)
    kernel /= kernel.sum()
    return kernel


def jpeg_compressed(image: Image, quality: int) -> Image:
    """An image (H, W, 3) in BGR as it comes back from a JPEG file of that quality, 1 to 100."""
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)


def jpeg_compressed_rgb(image: Image, quality: int) -> Image:
    """As :func:`jpeg_compressed`, an image (H, W, 3) in RGB."""
    return np.ascontiguousarray(jpeg_compressed(np.ascontiguousarray(image[..., ::-1]), quality)[..., ::-1])
