"""Names of media files as OpenCV and FFmpeg take them, and images read with a sentence about what is wrong."""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError
from ldeq.files import written_whole


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


def read_image(path: str | Path) -> NDArray[np.uint8] | None:
    """The image (H, W, 3) RGB of a file, upright; None where it is none or too large to be decoded.

    Raises:
        OSError: where the file cannot be read.
    """
    content = np.fromfile(path, np.uint8)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except cv2.error:
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes an image (H, W, 3) RGB in the format that the file's suffix names, whole or not at all.

    Raises:
        InputError: where it cannot be written.
    """
    coded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with written_whole(path) as temporary:
        temporary.write_bytes(coded.tobytes())
