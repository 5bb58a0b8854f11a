"""The filters that RwR is compared with, each over a grid of its parameters."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ldeq.smoothing import exponential_average, kalman, median, one_euro, savitzky_golay

Array = NDArray[np.float64]

#: Landmarks (frames, 98, 2) and frames a second → landmarks (frames, 98, 2).
Filter = Callable[[Array, float], Array]


@dataclass(frozen=True)
class Family:
    """Filters of one kind."""

    #: Whether a frame's landmarks depend on no later frame.
    is_causal: bool
    #: By their parameters, from hardly any smoothing to far too much.
    settings: Mapping[str, Filter]


def filter_families() -> Mapping[str, Family]:
    """The filters that RwR is compared with, by the name of their family."""

    def in_frames(smooth: Callable[[Array], Array]) -> Filter:
        return lambda points, fps: smooth(points)

    averages = {
        f"alpha {alpha:.2f}": in_frames(partial(exponential_average, alpha=alpha))
        for alpha in (0.99, 0.97, *np.linspace(0.95, 0.2, 16))
    }
    # At 25 frames a second 64 Hz at rest is an alpha of 0.94.
    cutoffs = (0.3, 0.6, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
    betas, derivative_cutoffs = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), (1.0, 5.0)
    euros = {
        f"min_cutoff {cutoff:g}, beta {beta:g}, derivative_cutoff {derivative:g}": partial(
            one_euro, min_cutoff=cutoff, beta=beta, derivative_cutoff=derivative
        )
        for cutoff, beta, derivative in itertools.product(cutoffs, betas, derivative_cutoffs)
    }
    polynomials = {
        f"window {window}, order {order}": in_frames(partial(savitzky_golay, window=window, order=order))
        for window, order in itertools.product((3, 5, 7, 9, 11, 15, 21), (1, 2, 3))
        if window > order + 1
    }
    medians = {f"window {window}": in_frames(partial(median, window=window)) for window in (3, 5, 7, 9, 11)}
    kalmans = {
        f"process-noise ratio {ratio:g}": in_frames(partial(kalman, process_noise_ratio=ratio))
        for ratio in (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 100.0)
    }
    return {
        "exponential average": Family(True, averages),
        "One Euro": Family(True, euros),
        "Kalman": Family(True, kalmans),
        "Savitzky–Golay": Family(False, polynomials),
        "median": Family(False, medians),
    }
