"""The 98 WFLW landmarks of a synthetic head, as a camera sees them."""

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.people.head import Head, Sphere, SurfacePoints
from datasets.synthetic.renderer.arrays import Floats
from datasets.synthetic.renderer.camera import Projection

# The nose: 51 to 54 down its bridge as positions in the front view, and 57, 58, 59 below it, from the middle to the
# left, as vertices.
_NOSE_BRIDGE = ((0.0, -0.2), (0.0, 1.2), (0.0, 2.45), (0.0, 3.5))
_NOSE_BASE = (317, 2424, 2469)


class LandmarkModel:
    """The landmarks' places on a head: points on curves on its surface, of which some depend on the camera.

    Points 0 to 32 follow the visible outline. On each ray from the middle of the face outwards the point that reaches
    furthest in the image is the outline's, which follows the cheek when the head turns, and stays on the jaw on the
    side that faces the camera.
    """

    _RAYS = 25
    #: The middle of the face: azimuth and height.
    _CENTRE = (0.0, 3.6)
    #: How far rays that end below the middle start below it, as a share of the difference.
    _DROP = 0.55
    #: The edge of the face on the template's left side, from the front of the ear down and along the lower jaw to the
    #: chin: azimuth in degrees, height in centimetres.
    _EDGE = (
        (80, 0.1), (81, 1), (82, 2), (82, 3), (80, 4.2), (77, 5.0), (70, 6.5), (60, 7.8), (50, 8.7), (40, 9.3),
        (30, 9.8), (20, 10.1), (10, 10.3), (0, 10.4),
    )  # fmt: skip

    def __init__(self, head: Head) -> None:
        self._head = head
        edge = _divide(np.array(self._EDGE) * (0.15, 1), self._RAYS - 1) / (0.15, 1)
        fractions = np.linspace(0.12, 1, 48)[:, None]
        self._left, self._right, self._angles = [], [], []
        for end in edge:
            # Rays to the jaw start below the nose, so that on a head that turns away they meet the chin's outline.
            start = np.array([self._CENTRE[0], self._CENTRE[1] + self._DROP * max(0.0, end[1] - self._CENTRE[1])])
            azimuth, y = ((1 - fractions) * start + fractions * end).T
            self._left.append(head.around(azimuth, y))
            self._right.append(head.around(-azimuth, y))
            x, y, _ = self._left[-1].on(head.template)[-1]
            self._angles.append(float(np.arctan2(y - start[1], x)))
        self._bridge = head.at_front(*np.array(_NOSE_BRIDGE).T)
        base = np.array([[vertex] * 3 for vertex in _NOSE_BASE], dtype=np.int32)
        third = np.full((3, 3), 1 / 3, dtype=np.float32)
        self._base = SurfacePoints(base, third), SurfacePoints(head.mirror[base].astype(np.int32), third)

    def locate(
        self,
        vertices: Floats,
        project: Projection,
        brows: tuple[SurfacePoints, SurfacePoints],
        pupils: Floats,
        roll: float,
    ) -> NDArray[np.float64]:
        """The landmarks of a head in an image.

        Args:
            vertices: (V, 3), as the camera sees them.
            project: points (n, 3) → pixels (n, 2).
            brows: outlines of the left and the right brow, nine points each, in WFLW's order of the left one.
            pupils: (2, 3), right and left.
            roll: the head's turn in the image, radians.

        Returns:
            (98, 2), pixels
        """
        points = np.empty((98, 2))
        points[0:33] = self._outline(vertices, project, roll)
        left_brow, right_brow = (project(brow.on(vertices)) for brow in brows)
        # 42..50 go along the upper edge of the left brow outwards and back; 33..41 start at the outer end.
        points[42:51] = left_brow
        points[33:42] = right_brow[[4, 3, 2, 1, 0, 8, 7, 6, 5]]
        points[51:55] = project(self._bridge.on(vertices))
        left, right = (project(base.on(vertices)) for base in self._base)
        points[55:60] = [right[2], right[1], left[0], left[1], left[2]]
        (upper, right_upper), (lower, right_lower) = self._head.upper_lids, self._head.lower_lids
        above = _divide(upper.on(vertices), 4)
        below = _divide(lower.on(vertices), 4)
        points[68:73] = project(above)
        points[73:76] = project(below[[3, 2, 1]])
        above = _divide(right_upper.on(vertices), 4)
        below = _divide(right_lower.on(vertices), 4)
        points[60:65] = project(above[::-1])
        points[65:68] = project(below[[1, 2, 3]])
        points[76:88] = _around_mouth(vertices, project, self._head.upper_lips, self._head.lower_lips, outer=True)
        points[88:96] = _around_mouth(vertices, project, self._head.upper_mouths, self._head.lower_mouths, outer=False)
        points[96:98] = project(pupils)
        return points

    def _outline(self, vertices: Floats, project: Projection, roll: float) -> NDArray[np.float64]:
        halves = []
        for rays, mirrored in ((self._right, True), (self._left, False)):
            curve = []
            for ray, angle in zip(rays, self._angles, strict=True):
                turned = (np.pi - angle if mirrored else angle) + roll
                pixels = project(ray.on(vertices))
                curve.append(pixels[int(np.argmax(pixels @ np.array([np.cos(turned), np.sin(turned)])))])
            halves.append(_divide(_smooth(np.array(curve)), 16))
        right, left = halves
        return np.concatenate([right, left[-2::-1]])


def pupil(eye: Sphere, gaze: Floats) -> Floats:
    """The pupil's centre on an eyeball that looks along the unit vector ``gaze``: (3,)."""
    centre: Floats = eye.centre + eye.radius * gaze
    return centre


def _around_mouth(
    vertices: Floats,
    project: Projection,
    upper: tuple[SurfacePoints, SurfacePoints],
    lower: tuple[SurfacePoints, SurfacePoints],
    outer: bool,
) -> NDArray[np.float64]:
    """12 outer or 8 inner points, from the right corner along the upper edge to the left, and back along the lower."""
    parts = 3 if outer else 2
    above, below = (
        [_divide(half.on(vertices), parts) for half in upper],
        [_divide(half.on(vertices), parts) for half in lower],
    )
    if outer:
        # The middle points of WFLW's upper lip sit at the peaks of the Cupid's bow and half-way to the corners.
        above = [_divide(half.on(vertices), 10)[[0, 3, 7, 10]] for half in upper]
    left, right = above
    top = np.concatenate([right[::-1], left[1:]])
    left, right = below
    bottom = np.concatenate([left[::-1], right[1:]])[1:-1]
    return project(np.concatenate([top, bottom]))


def _divide(curve: NDArray[np.floating], parts: int) -> NDArray[np.floating]:
    """parts + 1 points at equal distances along a polyline (n, d), its ends included."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    at = np.linspace(0, lengths[-1], parts + 1)
    return np.stack([np.interp(at, lengths, curve[:, axis]) for axis in range(curve.shape[1])], 1)


def _smooth(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """A polyline (n, 2) with each point but the ends averaged with its neighbours."""
    out = curve.copy()
    out[1:-1] = 0.25 * curve[:-2] + 0.5 * curve[1:-1] + 0.25 * curve[2:]
    return out
