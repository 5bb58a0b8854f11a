"""Array types, and the precision that the renderer works in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def f32(values: Any) -> Floats:
    """Numbers as an array of single precision."""
    return np.asarray(values, dtype=np.float32)
