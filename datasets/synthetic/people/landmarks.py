"""The 98 WFLW landmarks of a synthetic head, as a camera sees them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.people.brows import BrowEdges
from datasets.synthetic.people.head import Head, Sphere, SurfacePoints
from datasets.synthetic.renderer.arrays import Floats
from datasets.synthetic.renderer.camera import Projection

# The nose: its bridge from the eyes to its tip, as heights in the front view, and its base from the middle to the left
# wing, as vertices. Annotators stop before the wing's outermost point, at this share of the way.
_NOSE_BRIDGE = (-0.2, 3.5)
_NOSE_BASE = (317, 2424, 2469)
_NOSE_BASE_END = 0.86

# Where WFLW's annotators put points along a curve in the image, as shares of its length: the medians of near-frontal
# faces of WFLW, both sides of the face together.
_BROW_UPPER_EDGE = (0.0, 0.285, 0.525, 0.765, 1.0)
_BROW_LOWER_EDGE = (0.25, 0.495, 0.75, 1.0)
_UPPER_LID = (0.0, 0.225, 0.455, 0.725, 1.0)
_LOWER_LID = (0.25, 0.5, 0.75)
# From the middle of the upper lip to its corner: the peak of the Cupid's bow, and half-way from there.
_UPPER_LIP = (0.0, 0.19, 0.585, 1.0)
_LOWER_LIP = (0.0, 1 / 3, 2 / 3, 1.0)
_INNER_LIPS = (0.0, 0.5, 1.0)


class LandmarkModel:
    """The landmarks' places on a head: points on curves on its surface, of which some depend on the camera.

    Points 0 to 32 follow the visible outline. On each ray from the middle of the face outwards the point that reaches
    furthest in the image is the outline's, which follows the cheek when the head turns, and stays on the jaw on the
    side that faces the camera.
    """

    _RAYS = 25
    #: The middle of the face: azimuth and height.
    _CENTRE = (0.0, 3.6)
    #: How far rays that end above and below the middle start above and below it, as shares of the difference. On the
    #: far side of a turned head the outline ends where the uppermost ray meets it: at the height of the far eye.
    _RISE, _DROP = 0.9, 0.55
    #: The edge of the face on the template's left side, from the front of the ear down and along the lower jaw to the
    #: chin: azimuth in degrees, height in centimetres.
    _EDGE = (
        (83, -0.4), (83, 0.7), (83, 2), (82, 3), (80, 4.2), (77, 5.0), (70, 6.5), (60, 7.8), (50, 8.7), (40, 9.3),
        (30, 9.8), (20, 10.1), (10, 10.3), (0, 10.4),
    )  # fmt: skip

    def __init__(self, head: Head) -> None:
        self._head = head
        edge = _at_shares(np.array(self._EDGE) * (0.15, 1), np.linspace(0, 1, self._RAYS)) / (0.15, 1)
        fractions = np.linspace(0.12, 1, 48)[:, None]
        self._left, self._right, self._angles = [], [], []
        for end in edge:
            # Rays to the jaw start below the nose, so that on a head that turns away they meet the chin's outline.
            below = end[1] - self._CENTRE[1]
            start = np.array([self._CENTRE[0], self._CENTRE[1] + below * (self._DROP if below > 0 else self._RISE)])
            azimuth, y = ((1 - fractions) * start + fractions * end).T
            self._left.append(head.around(azimuth, y))
            self._right.append(head.around(-azimuth, y))
            x, y, _ = self._left[-1].on(head.template)[-1]
            self._angles.append(float(np.arctan2(y - start[1], x)))
        height = np.linspace(*_NOSE_BRIDGE, 13)
        self._bridge = head.at_front(np.zeros_like(height), height)
        base = np.array([[vertex] * 3 for vertex in _NOSE_BASE], dtype=np.int32)
        third = np.full((3, 3), 1 / 3, dtype=np.float32)
        self._base = SurfacePoints(base, third), SurfacePoints(head.mirror[base].astype(np.int32), third)

    def locate(
        self,
        vertices: Floats,
        project: Projection,
        brows: tuple[BrowEdges, BrowEdges],
        pupils: Floats,
        roll: float,
    ) -> NDArray[np.float64]:
        """The landmarks of a head in an image.

        Args:
            vertices: (V, 3), as the camera sees them.
            project: points (n, 3) → pixels (n, 2).
            brows: of the left and the right brow.
            pupils: (2, 3), right and left.
            roll: the head's turn in the image, radians.

        Returns:
            (98, 2), pixels
        """
        points = np.empty((98, 2))
        points[0:33] = self._outline(vertices, project, roll)

        def seen(curve: SurfacePoints, shares: Sequence[float]) -> NDArray[np.float64]:
            # In the image, as that is where annotators divide them.
            return _at_shares(project(curve.on(vertices)), shares)

        left_brow, right_brow = brows
        # 33 to 37 go along the upper edge of the right brow inwards and 38 to 41 back; 42 to 46 along that of the
        # left one outwards and 47 to 50 back.
        points[33:38] = seen(right_brow.upper, _BROW_UPPER_EDGE)
        points[38:42] = seen(right_brow.lower, _BROW_LOWER_EDGE)[::-1]
        points[42:47] = seen(left_brow.upper, _BROW_UPPER_EDGE)[::-1]
        points[47:51] = seen(left_brow.lower, _BROW_LOWER_EDGE)
        points[51:55] = seen(self._bridge, np.linspace(0, 1, 4).tolist())
        left, right = (seen(base, (0.0, _NOSE_BASE_END / 2, _NOSE_BASE_END)) for base in self._base)
        points[55:60] = [right[2], right[1], left[0], left[1], left[2]]
        # The head's curves along the lids begin at the inner corners, shares at the outer ones.
        (left_upper, right_upper), (left_lower, right_lower) = self._head.upper_lids, self._head.lower_lids
        points[60:65] = seen(right_upper[::-1], _UPPER_LID)
        points[65:68] = seen(right_lower[::-1], _LOWER_LID)[::-1]
        points[68:73] = seen(left_upper[::-1], _UPPER_LID)[::-1]
        points[73:76] = seen(left_lower[::-1], _LOWER_LID)
        for first, upper, lower, above, below in (
            (76, self._head.upper_lips, self._head.lower_lips, _UPPER_LIP, _LOWER_LIP),
            (88, self._head.upper_mouths, self._head.lower_mouths, _INNER_LIPS, _INNER_LIPS),
        ):
            # From the right corner along the upper edge to the left one, and back along the lower edge.
            left, right = (seen(half, above) for half in upper)
            top = np.concatenate([right[::-1], left[1:]])
            left, right = (seen(half, below) for half in lower)
            bottom = np.concatenate([left[::-1], right[1:]])[1:-1]
            points[first : first + len(top) + len(bottom)] = np.concatenate([top, bottom])
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
            halves.append(_at_shares(_smooth(np.array(curve)), np.linspace(0, 1, 17)))
        right, left = halves
        return np.concatenate([right, left[-2::-1]])


def pupil(eye: Sphere, gaze: Floats) -> Floats:
    """The pupil's centre on an eyeball that looks along the unit vector ``gaze``: (3,)."""
    centre: Floats = eye.centre + eye.radius * gaze
    return centre


def _at_shares(curve: NDArray[np.floating], shares: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Points (s, d) at shares of the length, in [0, 1], of a polyline (n, d)."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    at = np.asarray(shares) * lengths[-1]
    return np.stack([np.interp(at, lengths, curve[:, axis]) for axis in range(curve.shape[1])], 1)


def _smooth(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """A polyline (n, 2) with each point but the ends averaged with its neighbours."""
    out = curve.copy()
    out[1:-1] = 0.25 * curve[:-2] + 0.5 * curve[1:-1] + 0.25 * curve[2:]
    return out
