"""Images turned and mirrored upright, as a video's display matrix says."""

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

#: A mapping of an image's axes: whether they are exchanged, and then which of (vertical, horizontal) are reversed.
Orientation = tuple[bool, bool, bool]

UPRIGHT: Orientation = (False, False, False)


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """The orientation that a decoded frame's display matrix gives (ISO/IEC 14496-12, 6.2.2), one of eight.

    Matrices that turn by no multiple of a right angle are taken for upright, as players do.
    """
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # other data of a kind that PyAV does not know
        return _rotation_of(frame)
    if matrix is None:
        return UPRIGHT
    # x of the frame goes to a x + c y, y to b x + d y; 16.16 fixed point.
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32, count=5).astype(np.int64)
    if a and d and not b and not c:
        return (False, bool(d < 0), bool(a < 0))
    if b and c and not a and not d:
        return (True, bool(b < 0), bool(c < 0))
    return UPRIGHT


def _rotation_of(frame: av.VideoFrame) -> Orientation:
    turns = {90: (True, True, False), 180: (False, True, True), 270: (True, False, True)}
    return turns.get(frame.rotation % 360, UPRIGHT)


def upright(image: NDArray[np.uint8], orientation: Orientation) -> NDArray[np.uint8]:
    """The image (H, W, 3) as it is to be seen, contiguous."""
    transposed, vertical, horizontal = orientation
    if transposed:
        image = image.transpose(1, 0, 2)
    if vertical:
        image = image[::-1]
    if horizontal:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
