"""Filters that steady landmarks after they have been found, on finished tracks.

Each takes the landmarks of one face along a video, (frames, K, 2) in pixels, and gives as many. They can follow RwR or
stand in its place; :func:`smooth_tracks` applies one to all tracks of a video.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldeq.errors import InputError

Array = NDArray[np.float64]


def exponential_average(points: ArrayLike, alpha: float) -> Array:
    """ŷ_t = α·x_t + (1 − α)·ŷ_{t−1}, ŷ_0 = x_0. Causal.

    Args:
        points: (frames, K, 2), x.
        alpha: weight of the new frame, in (0, 1]; 1 changes nothing.
    """
    found = np.asarray(points, dtype=np.float64)
    out = found.copy()
    for t in range(1, len(found)):
        out[t] = alpha * found[t] + (1 - alpha) * out[t - 1]
    return out


def one_euro(points: ArrayLike, fps: float, min_cutoff: float, beta: float, derivative_cutoff: float = 1.0) -> Array:
    """The 1€ filter (Casiez, Roussel, Vogel: CHI 2012, section 2): an average that follows fast points more closely.

    Each point is smoothed with the alpha of the cut-off frequency min_cutoff + beta·|velocity|, its velocity with that
    of ``derivative_cutoff``. Causal.

    Args:
        points: (frames, K, 2), pixels.
        fps: frames a second.
        min_cutoff: in Hz, of a point at rest. Less is steadier.
        beta: in Hz for a velocity of one pixel a second. More lags less.
        derivative_cutoff: in Hz.
    """
    found = np.asarray(points, dtype=np.float64)

    def alpha_of(cutoff: ArrayLike) -> Array:
        return 1 / (1 + fps / (2 * np.pi * np.asarray(cutoff, dtype=np.float64)))

    out = found.copy()
    velocity = np.zeros(found.shape[1:])
    for t in range(1, len(found)):
        alpha = alpha_of(derivative_cutoff)
        velocity = alpha * (found[t] - found[t - 1]) * fps + (1 - alpha) * velocity
        speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
        alpha = alpha_of(min_cutoff + beta * speed)
        out[t] = alpha * found[t] + (1 - alpha) * out[t - 1]
    return out


def kalman(points: ArrayLike, process_noise_ratio: float) -> Array:
    """A Kalman filter of points that move straight on but for white-noise accelerations (Bar-Shalom, Li, Kirubarajan:
    Estimation with Applications to Tracking and Navigation, 2001, section 6.3.2), begun from two frames. Causal.

    Args:
        points: (frames, K, 2).
        process_noise_ratio: variance of the acceleration from frame to frame, in pixels a frame squared, over that of
            the landmarks' errors; above 0, and more follows turns sooner. Only this ratio matters.
    """
    found = np.asarray(points, dtype=np.float64)
    out = found.copy()
    if len(found) < 2:
        return out
    transition = np.array([[1.0, 1.0], [0.0, 1.0]])
    process_noise = process_noise_ratio * np.array([[0.25, 0.5], [0.5, 1.0]])
    # Of position and velocity; the same for all points, since only the ratio of variances enters.
    covariance = np.array([[1.0, 1.0], [1.0, 2.0]])
    position, velocity = found[1], found[1] - found[0]
    for t in range(2, len(found)):
        covariance = transition @ covariance @ transition.T + process_noise
        gain = covariance[:, 0] / (covariance[0, 0] + 1)
        covariance = covariance - np.outer(gain, covariance[0])
        position = position + velocity
        innovation = found[t] - position
        position, velocity = position + gain[0] * innovation, velocity + gain[1] * innovation
        out[t] = position
    return out


def savitzky_golay(points: ArrayLike, window: int, order: int) -> Array:
    """Polynomials of an order fitted to windows of frames (Savitzky, Golay 1964). Non-causal.

    Args:
        points: (frames, K, 2).
        window: frames, odd and more than ``order``; shortened to the video.
        order: of the polynomials.
    """
    from scipy.signal import savgol_filter

    found = np.asarray(points, dtype=np.float64)
    window = min(window, len(found) - (len(found) + 1) % 2)
    if window <= order:
        return found.copy()
    return np.asarray(savgol_filter(found, window, order, axis=0))


def median(points: ArrayLike, window: int) -> Array:
    """The median of a window of frames, of each coordinate by itself. Non-causal.

    Args:
        points: (frames, K, 2).
        window: frames, odd. The first and the last frame stand for what lies beyond them.
    """
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(np.asarray(points, dtype=np.float64), size=(window, 1, 1), mode="nearest"))


#: The filters by name, with the settings of lowest error of our study (docs/study.md): (frames, K, 2) and frames a
#: second → (frames, K, 2).
FILTERS: dict[str, Callable[[ArrayLike, float], Array]] = {
    "savitzky-golay": lambda points, fps: savitzky_golay(points, window=3, order=1),
    "kalman": lambda points, fps: kalman(points, process_noise_ratio=20),
    "one-euro": lambda points, fps: one_euro(points, fps, min_cutoff=32, beta=1),
    "median": lambda points, fps: median(points, window=3),
    "exponential": lambda points, fps: exponential_average(points, alpha=0.95),
}
#: The filter that is meant where smoothing is asked for without a name.
RECOMMENDED = "savitzky-golay"


def smooth(points: ArrayLike, name: str = RECOMMENDED, fps: float = 25.0) -> Array:
    """A filter of :data:`FILTERS` over one unbroken track (frames, K, 2).

    Raises:
        InputError: where there is no filter of that name.
    """
    return named_filter(name)(points, fps)


def named_filter(name: str) -> Callable[[ArrayLike, float], Array]:
    """The filter of that name.

    Raises:
        InputError: where there is none.
    """
    if name not in FILTERS:
        raise InputError(f"smoothing = {name!r}, expected one of {', '.join(FILTERS)}")
    return FILTERS[name]


def smooth_tracks(
    landmarks: ArrayLike,
    frame: ArrayLike,
    face_id: ArrayLike,
    restarted: ArrayLike,
    name: str = RECOMMENDED,
    fps: float = 25.0,
) -> Array:
    """A filter over every track of a video.

    A track is broken, and each part filtered by itself, where the face is missing in a frame and where its recurrence
    restarted: across a shot change or after a face was lost there is nothing to smooth.

    Args:
        landmarks: (N, K, 2), one row a face and frame, frames ascending.
        frame, face_id, restarted: (N,), as in ``landmarks.npz``.
        name: one of :data:`FILTERS`.
        fps: frames a second.

    Returns:
        (N, K, 2)

    Raises:
        InputError: where there is no filter of that name.
    """
    apply = named_filter(name)
    found = np.asarray(landmarks, dtype=np.float64)
    frames, ids, begins = np.asarray(frame), np.asarray(face_id), np.asarray(restarted, dtype=bool)
    out = found.copy()
    for id in np.unique(ids):
        rows = np.flatnonzero(ids == id)
        breaks = np.flatnonzero((np.diff(frames[rows]) != 1) | begins[rows][1:]) + 1
        for part in np.split(rows, breaks):
            out[part] = apply(found[part], fps)
    return out
