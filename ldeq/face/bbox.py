"""Bounding boxes: x1, y1, x2, y2 in frame pixels."""

import numpy as np
from numpy.typing import NDArray


def tight_bbox(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest bounding box of points (N, 2): (4,)."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def overlap(bbox: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union of two bounding boxes, in [0, 1]."""
    sides = np.minimum(bbox[2:], other[2:]) - np.maximum(bbox[:2], other[:2])
    if (sides <= 0).any():
        return 0.0
    shared = float(sides.prod())
    return shared / (float((bbox[2:] - bbox[:2]).prod()) + float((other[2:] - other[:2]).prod()) - shared)
