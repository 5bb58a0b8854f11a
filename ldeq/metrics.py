"""Errors of landmarks: NME, FR and AUC on images; NME and NMF (flicker) on video; jitter, which needs no truth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldeq.landmarks98 import OUTER_EYE_CORNERS

Array = NDArray[np.float64]

#: NME (a fraction) above which an image counts as failed, and where the AUC ends.
FAILURE_THRESHOLD = 0.10
#: Distance of the cumulative error curve's points.
_CURVE_STEP = 1e-4


def image_nme(pred: ArrayLike, gt: ArrayLike, points: Sequence[int] | None = None) -> Array:
    """Normalised mean error of each image: mean point distance / distance of the outer eye corners (60 and 72).

    Args:
        pred, gt: (N, 98, 2), in the same units.
        points: the landmarks that count; all if None. Others may be NaN, but for the outer eye corners.

    Returns:
        (N,), fractions (not percent).

    >>> gt = np.zeros((1, 98, 2)); gt[0, 72] = [4, 3]
    >>> image_nme(gt + [0.25, 0], gt)
    array([0.05])
    """
    pred, gt = _landmark_pair(pred, gt)
    distances = np.linalg.norm(pred - gt, axis=-1)
    nme: Array = (distances if points is None else distances[:, list(points)]).mean(axis=-1) / _eye_distance(gt)
    return nme


def cumulative_error(nmes: ArrayLike, threshold: float = FAILURE_THRESHOLD) -> tuple[Array, Array]:
    """The cumulative error curve: t = 0, 0.0001, …, ``threshold`` and the fraction of images ≤ t."""
    thresholds = np.linspace(0, threshold, round(threshold / _CURVE_STEP) + 1)
    ordered = np.sort(np.asarray(nmes, dtype=np.float64))
    return thresholds, np.searchsorted(ordered, thresholds, side="right") / len(ordered)


def failure_rate_and_auc(nmes: ArrayLike, threshold: float = FAILURE_THRESHOLD) -> tuple[float, float]:
    """Failure rate and area under the cumulative error curve, both fractions.

    FR is the fraction of images with an NME above ``threshold``; the AUC is the curve's integral by Simpson's rule,
    divided by ``threshold``.

    Args:
        nmes: (N,), N ≥ 1, fractions.

    Raises:
        ValueError: where there is no NME.

    >>> failure_rate_and_auc([0.0, 0.05, 0.2, 0.3])
    (0.5, 0.37508...)
    """
    from scipy.integrate import simpson

    if np.size(nmes) == 0:
        raise ValueError("no NME, expected at least one")
    thresholds, fractions = cumulative_error(nmes, threshold)
    return float(1 - fractions[-1]), float(simpson(fractions, x=thresholds) / threshold)


def frame_nme(pred: ArrayLike, gt: ArrayLike) -> Array:
    """NME of each frame in percent: (frames, 98, 2) in frame pixels, twice → (frames,)."""
    return 100 * image_nme(pred, gt)


def frame_flicker(pred: ArrayLike, gt: ArrayLike) -> Array:
    """Flicker of each frame against the one before (paper, section 4): root-mean-square over points of f_{t,k}.

    With δ_t = gt_t − pred_t and a_t = sqrt(width_t·height_t / 256²) of the ground truth's extent:
    f_{t,k} = 100·‖δ_{t−1,k} − δ_{t,k}‖ / a_t for t ≥ 1.

    Args:
        pred, gt: (frames, 98, 2), frame pixels, frames ≥ 2.

    Returns:
        (frames − 1,)

    Raises:
        ValueError: where there are fewer than two frames.
    """
    pred, gt = _landmark_pair(pred, gt)
    if len(gt) < 2:
        raise ValueError(f"{len(gt)} frames, expected at least 2: flicker is a difference between frames")
    change = np.linalg.norm(np.diff(gt - pred, axis=0), axis=-1)
    extent = np.ptp(gt, axis=1)[1:]
    size = np.sqrt(extent.prod(axis=-1) / 256**2)
    flicker: Array = np.sqrt(((100 * change / size[:, None]) ** 2).mean(axis=-1))
    return flicker


def frame_jitter(points: ArrayLike, times: ArrayLike) -> Array:
    """Jitter of each frame, which needs no ground truth: how far landmarks are from moving straight on.

    With m_t between frames t − 1 and t + 1 at the time of t, and a_t as in :func:`frame_flicker` but of the landmarks'
    own extent: root-mean-square over points of 100·‖p_t − m_t‖ / a_t. Steady motion of any speed has none.

    Args:
        points: (frames, K, 2), frame pixels.
        times: (frames,), ascending.

    Returns:
        (frames,), NaN for the first and the last.
    """
    points, times = np.asarray(points, dtype=np.float64), np.asarray(times, dtype=np.float64)
    jitter: Array = np.full(len(points), np.nan)
    if len(points) < 3:
        return jitter
    weight = ((times[1:-1] - times[:-2]) / (times[2:] - times[:-2]))[:, None, None]
    middle = points[:-2] + weight * (points[2:] - points[:-2])
    size = np.sqrt(np.maximum(np.ptp(points, axis=1)[1:-1].prod(axis=-1), 1e-12) / 256**2)
    distance = np.linalg.norm(points[1:-1] - middle, axis=-1) / size[:, None]
    jitter[1:-1] = 100 * np.sqrt((distance**2).mean(axis=-1))
    return jitter


def video_nme(pred: ArrayLike, gt: ArrayLike) -> float:
    """Mean over frames of :func:`frame_nme`, in percent."""
    return float(frame_nme(pred, gt).mean())


def video_nmf(pred: ArrayLike, gt: ArrayLike) -> float:
    """Normalised mean flicker: root-mean-square over frames of :func:`frame_flicker`.

    (The published code prints it as NMJ.)
    """
    return float(np.sqrt((frame_flicker(pred, gt) ** 2).mean()))


def _landmark_pair(pred: ArrayLike, gt: ArrayLike) -> tuple[Array, Array]:
    pred, gt = np.asarray(pred, dtype=np.float64), np.asarray(gt, dtype=np.float64)
    if gt.ndim != 3 or gt.shape[1:] != (98, 2) or pred.shape != gt.shape:
        raise ValueError(f"landmarks of shapes {pred.shape} and {gt.shape}, expected (N, 98, 2) twice")
    return pred, gt


def _eye_distance(gt: Array) -> Array:
    one, other = OUTER_EYE_CORNERS
    distance: Array = np.linalg.norm(gt[:, one] - gt[:, other], axis=-1)
    return distance
