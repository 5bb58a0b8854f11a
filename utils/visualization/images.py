"""Plots of an evaluation on images: cumulative error curves, and galleries of faces."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ldeq.drawing import PREDICTION_COLOUR, TRUTH_COLOUR
from ldeq.landmarks98 import CURVES
from ldeq.metrics import FAILURE_THRESHOLD, cumulative_error, failure_rate_and_auc
from utils.visualization.figures import NME_LABEL, Array, add_legend, add_note, plain

_TRUTH = tuple(level / 255 for level in TRUTH_COLOUR)
_PREDICTION = tuple(level / 255 for level in PREDICTION_COLOUR)
#: Columns of a gallery at most, and characters of a face's name.
_COLUMNS, _LONGEST_NAME = 4, 28
#: How far beyond the image landmarks are still shown, as a fraction of its side.
_BEYOND = 0.25


def cumulative_error_plot(nmes: Mapping[str, Array], note: str | None = None) -> Figure:
    """The cumulative error curve of each split: images in percent by their NME, up to the failure threshold.

    Args:
        nmes: (N,) fractions, by the split's name.
        note: a sentence that goes below the axes.
    """
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    figure.suptitle("Cumulative error", fontsize=10)
    axes = figure.subplots()
    for split, values in nmes.items():
        thresholds, fractions = cumulative_error(values)
        failures, auc = failure_rate_and_auc(values)
        figures = f"NME {100 * values.mean():.2f} %, FR {100 * failures:.2f} %, AUC {auc:.3f}"
        label = f"{plain(split, 40)}\n{figures}"
        axes.plot(100 * thresholds, 100 * fractions, label=label, drawstyle="steps-post")
    # Wider than the values are, since the curves begin and end on the limits.
    axes.set(xlim=(-0.1, 100 * FAILURE_THRESHOLD + 0.1), ylim=(-2, 102))
    axes.set(xlabel=NME_LABEL, ylabel="images, %")
    axes.grid(alpha=0.3)
    add_legend(figure, axes)
    add_note(figure, note)
    return figure


def gallery(
    images: Sequence[NDArray[np.uint8]],
    predicted: Array,
    truth: Array,
    names: Sequence[str],
    nmes: Array,
    heading: str,
    note: str | None = None,
) -> Figure:
    """Faces with their predicted and true landmarks.

    Args:
        images: (H, H, 3) RGB.
        predicted, truth: (N, 98, 2), fractions of the side.
        names: of the faces.
        nmes: (N,), fractions.
        heading: of the whole.
        note: a sentence that goes below the faces.
    """
    n_columns = min(_COLUMNS, len(images))
    n_rows = -(-len(images) // n_columns)
    # The heading needs the width of two faces.
    figure = Figure(figsize=(3.2 * max(n_columns, 2), 3.4 * n_rows + 0.7), layout="constrained")
    figure.suptitle(f"{plain(heading)} (green: truth, red: prediction)", fontsize=10)
    all_axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes in all_axes:
        axes.set_axis_off()
    faces = zip(images, predicted, truth, names, nmes, strict=True)
    for axes, (image, prediction, landmarks, name, nme) in zip(all_axes, faces, strict=False):
        side = image.shape[0]
        axes.imshow(image)
        _draw(axes, landmarks * side, _TRUTH)
        _draw(axes, prediction * side, _PREDICTION)
        _show_all(axes, np.concatenate([landmarks, prediction]) * side, side)
        axes.set_title(f"{plain(name, _LONGEST_NAME)}: NME {100 * nme:.2f} %", fontsize=8)
    add_note(figure, note)
    return figure


def _draw(axes: Axes, points: Array, colour: tuple[float, ...]) -> None:
    for first, last, closed in CURVES:
        curve = points[first : last + 1]
        if closed:
            curve = np.concatenate([curve, curve[:1]])
        axes.plot(curve[:, 0], curve[:, 1], color=colour, linewidth=0.6)
    axes.scatter(points[:, 0], points[:, 1], s=3, color=[colour], zorder=3)


def _show_all(axes: Axes, points: Array, side: int) -> None:
    """Square limits around the image, and around landmarks that lie outside of it."""
    beyond = max(float(-points.min()), float(points.max() - side))
    margin = min(beyond + 0.02 * side, _BEYOND * side) if beyond > 0 else 0.0
    axes.set(xlim=(-0.5 - margin, side - 0.5 + margin), ylim=(side - 0.5 + margin, -0.5 - margin))
