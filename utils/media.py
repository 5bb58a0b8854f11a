"""Names of media files as OpenCV and FFmpeg take them, and pictures read with a sentence about what is wrong."""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq import InputError


def for_ffmpeg(path: str | Path) -> str:
    """The absolute path: FFmpeg takes ``a:b.mp4`` for file b.mp4 by protocol a.

    Raises:
        InputError: where it is no text, which ends OpenCV's whole process.
    """
    absolute = os.path.abspath(path)
    try:
        absolute.encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!r}: has bytes that are no UTF-8, expected a path that is text") from None
    return absolute


def read_picture(path: str | Path) -> NDArray[np.uint8] | None:
    """The picture (H, W, 3) RGB of a file, upright; None where it is none or too large to be decoded.

    Raises:
        OSError: where the file cannot be read.
    """
    content = np.fromfile(path, np.uint8)
    try:
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except cv2.error:
        return None
    return None if picture is None else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
