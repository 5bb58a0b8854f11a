"""The geometry of a camera."""

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Doubles, Floats


class Projection:
    """A pinhole camera that looks along z, and the pixels of its image.

    Args:
        scale: pixels a unit of x/z.
        shift: (2,), pixel (column, row) of the axis; the centre of the first pixel is at 0.
    """

    def __init__(self, scale: float, shift: NDArray[np.floating]) -> None:
        self.scale = float(scale)
        self.shift = np.asarray(shift, dtype=np.float64)

    def __call__(self, points: Floats) -> Doubles:
        """Points in space (n, 3) → pixels (n, 2)."""
        return points[:, :2].astype(np.float64) / points[:, 2:] * self.scale + self.shift

    def with_depth(self, points: Floats) -> Floats:
        """Points in space (n, 3) → column, row and depth (n, 3); the depth is infinite behind the camera."""
        depth = np.where(points[:, 2] > 1, points[:, 2], np.inf)
        return np.concatenate([self(points), depth[:, None]], 1).astype(np.float32)
