"""Motions of a face over the frames of a video, and the jitter of a detector's bounding boxes for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.face.bbox import tight_bbox

Points = NDArray[np.float64]
PixelT = TypeVar("PixelT", bound=np.generic)

#: Typical shift, as a fraction of the image's side, zoom and turn (radians).
_SHIFT, _ZOOM, _TURN = 0.01, 0.015, 0.01
#: Standard deviation of the sides of a detector's bounding box, at severity 0 and 1, as fractions of the image's side.
_JITTER, _JITTER_AT_WORST = 0.01, 0.03
#: Smooth displacement as of an expression or a turning head: waves, their size, and the most of them across an image.
_N_WAVES, _WAVE, _HIGHEST = 3, 0.004, 3.0
#: Points of the grid, in each direction, on which a displacement is computed for an image.
_GRID = 24


@dataclass(frozen=True)
class Motion:
    """A displacement of every point of an image, in fractions of its side."""

    shift: Points
    #: (2, 2), of the position relative to the image's centre.
    linear: Points
    #: (W, 2) sizes, (W, 2) cycles across the image, and (W,) phases of waves.
    sizes: Points
    cycles: Points
    phases: Points

    def displacement(self, points: Points) -> Points:
        """The displacement (N, 2) of points (N, 2), both in fractions of the side."""
        waves = np.cos(2 * np.pi * points @ self.cycles.T + self.phases) @ self.sizes
        moved: Points = self.shift + (points - 0.5) @ self.linear.T + waves
        return moved


def random_pace(rng: np.random.Generator) -> float:
    """How fast the motions of a clip are: mostly a head that is held still and followed closely, as of somebody who
    talks, and now and then a fast one.

    Where a face moves by more than a network is off, what the frame before showed is worth nothing.
    """
    return float(np.exp(rng.normal(-0.8, 0.9)))


def random_motion(rng: np.random.Generator, pace: float = 1.0) -> Motion:
    """A motion from one frame to the next, from hardly any to a fast one.

    Args:
        pace: factor of its size.
    """
    pace *= float(np.exp(rng.normal(0, 0.6)))
    zoom, turn = rng.normal(0, pace * _ZOOM), rng.normal(0, pace * _TURN)
    angles = rng.uniform(0, 2 * np.pi, _N_WAVES)
    return Motion(
        shift=rng.normal(0, pace * _SHIFT, 2),
        linear=np.array([[zoom, -turn], [turn, zoom]]),
        sizes=rng.normal(0, pace * _WAVE, (_N_WAVES, 2)),
        cycles=rng.uniform(0, _HIGHEST, (_N_WAVES, 1)) * np.column_stack([np.cos(angles), np.sin(angles)]),
        phases=rng.uniform(0, 2 * np.pi, _N_WAVES),
    )


def random_jitter(rng: np.random.Generator, severity: float, pace: float = 1.0) -> Motion:
    """The displacement of a face in its crop by the jitter of the detector's bounding box, which every frame has anew.

    Args:
        severity: how bad the frame is, 0 to 1.
        pace: of the clip; the bounding box of a face that hardly moves is steadier.
    """
    deviation = min(pace, 1.0) * (_JITTER + severity * (_JITTER_AT_WORST - _JITTER))
    left, top, right, bottom = rng.normal(0, deviation, 4)
    zoom = (left - right + top - bottom) / 2
    no_waves = np.zeros((0, 2))
    return Motion(-np.array([left + right, top + bottom]) / 2, zoom * np.eye(2), no_waves, no_waves, np.zeros(0))


class ClipMotions:
    """The motions of a face over the frames of a clip, from its last one back, at a pace that is drawn once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._pace = rng, random_pace(rng)
        self._motions: list[Motion] = []

    def earlier(self, severity: float | None = None) -> list[Motion]:
        """What displaces the face of the last frame in the one before the last that was asked for.

        Args:
            severity: how bad the frame is, 0 to 1; drawn where it is None.
        """
        self._motions.append(random_motion(self._rng, self._pace))
        severity = self._rng.random() if severity is None else severity
        return [*self._motions, random_jitter(self._rng, severity, self._pace)]


def move_points(points: NDArray[np.floating], motions: list[Motion]) -> Points:
    """Points (N, 2), fractions of the side, displaced by all of the motions."""
    start = np.asarray(points, dtype=np.float64)
    return start + sum((motion.displacement(start) for motion in motions), np.zeros_like(start))


def displacement_field(side: int, motions: list[Motion]) -> NDArray[np.float32]:
    """Where each pixel of an image of this side that was displaced by the motions has come from.

    Returns:
        (side, side, 2), column and row; the centre of the first pixel is at 0.
    """
    ticks = (np.arange(_GRID) + 0.5) / _GRID
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    # What arrives at a point has left from where the displacement leads to it: a fixed point.
    back = grid
    for _ in range(5):
        back = grid - (move_points(back, motions) - back)
    coarse = (back - grid).reshape(_GRID, _GRID, 2).astype(np.float32) * side
    field = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    field += np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).astype(np.float32)
    return field


def move_image(image: NDArray[PixelT], motions: list[Motion]) -> NDArray[PixelT]:
    """A square image (S, S, 3) displaced by all of the motions; beyond its borders it is mirrored."""
    field = displacement_field(len(image), motions)
    moved = cv2.remap(image, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[call-overload]
    return np.asarray(moved, dtype=image.dtype)


def smooth_path(
    rng: np.random.Generator,
    seconds: NDArray[np.float64],
    waves: Iterable[tuple[float, float, float]],
    speed: float = 1.0,
) -> NDArray[np.float64]:
    """A quantity that varies smoothly around 0: a sum of sine waves of random frequencies and phases.

    Args:
        seconds: (T,), the time of each frame.
        waves: of each wave its amplitude, and the bounds of its frequency in hertz.
        speed: factor of all frequencies.

    Returns:
        (T,), in the amplitudes' unit.
    """
    value = np.zeros(len(seconds))
    for amplitude, slowest, fastest in waves:
        frequency, phase = rng.uniform(slowest, fastest) * speed, rng.uniform(0, 2 * np.pi)
        value += amplitude * np.sin(2 * np.pi * frequency * seconds + phase)
    return value


def jittered_bbox(points: Points, rng: np.random.Generator, deviation: float) -> NDArray[np.float64]:
    """A bounding box of a face as a detector gives it: (5,), x1 y1 x2 y2 in the points' unit, and a score.

    Args:
        points: (98, 2), the landmarks.
        deviation: standard deviation of each side, as a fraction of the longer side.
    """
    error = rng.normal(0, deviation * float(np.ptp(points, axis=0).max()), 4)
    return np.array([*(tight_bbox(points) + error), 0.99])
