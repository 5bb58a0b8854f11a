"""Filters that steady landmarks after they have been found: what RwR is compared with.

Each takes the landmarks of one video, (frames, K, 2) in pixels, and gives as many.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def exponential_average(points: ArrayLike, share: float) -> Array:
    """ŷ_t = share·x_t + (1 − share)·ŷ_{t−1}, ŷ_0 = x_0. Causal.

    Args:
        points: (frames, K, 2), x.
        share: of the new frame, in (0, 1]; 1 changes nothing.
    """
    found = np.asarray(points, dtype=np.float64)
    out = found.copy()
    for t in range(1, len(found)):
        out[t] = share * found[t] + (1 - share) * out[t - 1]
    return out


def one_euro(points: ArrayLike, fps: float, min_cutoff: float, beta: float, derivative_cutoff: float = 1.0) -> Array:
    """The 1€ filter (Casiez, Roussel, Vogel: CHI 2012, section 2): an average that follows fast points more closely.

    Each point is smoothed by the share of the cut-off frequency min_cutoff + beta·|velocity|, its velocity by that of
    ``derivative_cutoff``. Causal.

    Args:
        points: (frames, K, 2), pixels.
        fps: frames a second.
        min_cutoff: in Hz, of a point at rest. Less is steadier.
        beta: in Hz for a velocity of one pixel a second. More lags less.
        derivative_cutoff: in Hz.
    """
    found = np.asarray(points, dtype=np.float64)

    def share(cutoff: ArrayLike) -> Array:
        return 1 / (1 + fps / (2 * np.pi * np.asarray(cutoff, dtype=np.float64)))

    out, velocity = found.copy(), np.zeros_like(found[0])
    for t in range(1, len(found)):
        slope = share(derivative_cutoff)
        velocity = slope * (found[t] - found[t - 1]) * fps + (1 - slope) * velocity
        speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
        new = share(min_cutoff + beta * speed)
        out[t] = new * found[t] + (1 - new) * out[t - 1]
    return out


def kalman(points: ArrayLike, manoeuvre: float) -> Array:
    """A Kalman filter of points that move straight on but for white-noise accelerations (Bar-Shalom, Li, Kirubarajan:
    Estimation with Applications to Tracking and Navigation, 2001, section 6.3.2), begun from two frames. Causal.

    Args:
        points: (frames, K, 2).
        manoeuvre: variance of the acceleration from frame to frame, in pixels a frame squared, over that of the
            landmarks' errors; above 0, and more follows turns sooner. Only this ratio matters.
    """
    found = np.asarray(points, dtype=np.float64)
    out = found.copy()
    if len(found) < 2:
        return out
    moves = np.array([[1.0, 1.0], [0.0, 1.0]])
    acceleration = manoeuvre * np.array([[0.25, 0.5], [0.5, 1.0]])
    # Of position and velocity; the same for all points, since only the ratio of variances enters.
    covariance = np.array([[1.0, 1.0], [1.0, 2.0]])
    position, velocity = found[1], found[1] - found[0]
    for t in range(2, len(found)):
        covariance = moves @ covariance @ moves.T + acceleration
        gain = covariance[:, 0] / (covariance[0, 0] + 1)
        covariance = covariance - np.outer(gain, covariance[0])
        position = position + velocity
        surprise = found[t] - position
        position, velocity = position + gain[0] * surprise, velocity + gain[1] * surprise
        out[t] = position
    return out


def savitzky_golay(points: ArrayLike, window: int, order: int) -> Array:
    """Polynomials of an order fitted to windows of frames (Savitzky, Golay 1964). Not causal: it looks ahead.

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
    """The median of a window of frames, of each coordinate by itself. Not causal: it looks ahead.

    Args:
        points: (frames, K, 2).
        window: frames, odd. The first and the last frame stand for what lies beyond them.
    """
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(np.asarray(points, dtype=np.float64), size=(window, 1, 1), mode="nearest"))
