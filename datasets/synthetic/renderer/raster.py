"""A z-buffer rasteriser: which triangle each pixel sees, and where in it."""

import numba
import numpy as np

from datasets.synthetic.renderer.arrays import Floats, Ints


def rasterise(points: Floats, triangles: Ints, height: int, width: int) -> tuple[Ints, Floats, Floats]:
    """The nearest triangle at every pixel's centre.

    Within a triangle, coordinates are interpolated linearly on the screen: ours are a few pixels large, where
    perspective makes no difference.

    Args:
        points: (V, 3), column and row in pixels (the centre of the first pixel is 0, 0) and depth, which grows with
            the distance and is infinite for what lies behind the camera.
        triangles: (T, 3), indices of points; seen from both sides.

    Returns:
        Triangles (height, width), −1 where there is none; the second and third barycentric coordinates
        (height, width, 2); depths (height, width), infinite where there is no triangle.
    """
    seen = np.full((height, width), -1, dtype=np.int32)
    weights = np.zeros((height, width, 2), dtype=np.float32)
    depths = np.full((height, width), np.inf, dtype=np.float32)
    _fill(np.ascontiguousarray(points, dtype=np.float32), triangles, seen, weights, depths)
    return seen, weights, depths


@numba.njit(cache=True, nogil=True)
def _fill(points: Floats, triangles: Ints, seen: Ints, weights: Floats, depths: Floats) -> None:
    height, width = seen.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        if not (az < np.inf and bz < np.inf and cz < np.inf):
            continue
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0.0 or not np.isfinite(area):
            continue
        inverse = 1.0 / area
        left = max(0, int(np.ceil(min(ax, bx, cx))))
        right = min(width - 1, int(np.floor(max(ax, bx, cx))))
        top = max(0, int(np.ceil(min(ay, by, cy))))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy))))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                v = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) * inverse
                w = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) * inverse
                u = 1.0 - v - w
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                z = u * az + v * bz + w * cz
                if z < depths[y, x]:
                    depths[y, x] = z
                    seen[y, x] = t
                    weights[y, x, 0] = v
                    weights[y, x, 1] = w
