"""Why landmarks of a face may be hard to find, as far as its annotation and its image tell."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.face.bbox import tight_bbox
from ldeq.landmarks98 import OUTER_EYE_CORNERS

#: The causes of :func:`causes_of`, with what they mean. Angles are those of :func:`head_angles`.
CAUSES = {
    "turned": "yaw of 20° to 32°",
    "near profile": "yaw above 32°",
    "roll": "roll above 30°",
    "looking up": "pitch of 12° and more, upwards",
    "looking down": "pitch of 12° and more, downwards",
    "mouth open": "gap between the lips above 0.45 of the mouth's width",
    "dark": "mean grey level of the face below 60",
    "blurred": "variance of the face's Laplacian below 15: out of focus, moved, or enlarged from few pixels",
}
_TURNED, _PROFILE, _ROLL, _PITCH, _OPEN, _DARK, _BLURRED = 20.0, 32.0, 30.0, 12.0, 0.45, 60.0, 15.0
_NOSE_TIP, _CHIN, _OUTLINE_ENDS, _MOUTH_CORNERS = 54, 16, (0, 32), (76, 82)
_INNER_CORNERS, _INNER_MIDDLES = (88, 92), (90, 94)
#: Fitted on the generator's heads, whose angles are known: how far the tip of the nose is before the outline's ends
#: beside half of their distance, and the pitch by the tip's height between the eyes and the middle of mouth and chin.
#: Median errors are 4°.
_NOSE_DEPTH, _PITCH_SLOPE, _LEVEL = 1.3, 84.0, 0.437


def head_angles(landmarks: NDArray[np.floating]) -> tuple[float, float, float]:
    """Estimates of yaw (to the right of the image), pitch (down) and roll (clockwise), in degrees.

    On photographs yaw stays below 50°: in a profile what is seen of the far cheek is taken for the outline.

    Args:
        landmarks: (98, 2), of which the outline's ends, outer eye corners, nose tip, chin and mouth's corners
            are needed.
    """
    face = upright(landmarks, landmarks)
    nose, (left, right) = face[_NOSE_TIP], face[list(_OUTLINE_ENDS), 0]
    below = (face[list(_MOUTH_CORNERS), 1].mean() + face[_CHIN, 1]) / 2
    yaw = math.atan2(nose[0] - (left + right) / 2, max(right - left, 1e-9) / 2 * _NOSE_DEPTH)
    pitch = _PITCH_SLOPE * (nose[1] / max(below, 1e-9) - _LEVEL)
    one, other = np.asarray(landmarks, dtype=np.float64)[list(OUTER_EYE_CORNERS)]
    roll = math.atan2(other[1] - one[1], other[0] - one[0])
    return math.degrees(yaw), float(pitch), math.degrees(roll)


def causes_of(image: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> frozenset[str]:
    """Those of :data:`CAUSES` that a face has.

    Args:
        image: its crop (S, S, 3) RGB.
        landmarks: (98, 2), fractions of S; those that are not annotated NaN.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    yaw, pitch, roll = head_angles(points)
    gap, width = (float(np.linalg.norm(points[one] - points[other])) for one, other in (_INNER_MIDDLES, _INNER_CORNERS))
    side = image.shape[0]
    left, top, right, bottom = (tight_bbox(points[np.isfinite(points[:, 0])]) * side).clip(0, side).astype(int)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[top : bottom + 1, left : right + 1]
    found = {
        "turned": _TURNED < abs(yaw) <= _PROFILE,
        "near profile": abs(yaw) > _PROFILE,
        "roll": abs(roll) > _ROLL,
        "looking up": pitch <= -_PITCH,
        "looking down": pitch >= _PITCH,
        "mouth open": gap > _OPEN * width,
        "dark": grey.mean() < _DARK,
        "blurred": cv2.Laplacian(grey, cv2.CV_64F).var() < _BLURRED,
    }
    return frozenset(name for name, is_one in found.items() if is_one)


def upright(points: NDArray[np.floating], face: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points (N, 2) where the outer eye corners of ``face`` (98, 2) are at (∓0.5, 0), y down."""
    one, other = np.asarray(face, dtype=np.float64)[list(OUTER_EYE_CORNERS)]
    across = other - one
    axes = np.stack([across, [-across[1], across[0]]]) / max(float(across @ across), 1e-12)
    moved: NDArray[np.float64] = (points - (one + other) / 2) @ axes.T
    return moved
