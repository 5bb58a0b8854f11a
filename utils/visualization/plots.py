"""Plots of a run, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ldeq.drawing import PREDICTION_COLOUR, TRUTH_COLOUR
from ldeq.face.curves import FaceCurve
from ldeq.files import written_whole
from ldeq.landmarks98 import CURVES
from ldeq.metrics import FAILURE_THRESHOLD, cumulative_error, failure_rate_and_auc, frame_flicker, frame_nme
from utils.engine.losses import PARTS

Array = NDArray[np.floating[Any]]

#: Faces that the legend names, and points of a curve.
MOST_LABELS = 12
MOST_POINTS = 2000

_TRUTH = tuple(level / 255 for level in TRUTH_COLOUR)
_PREDICTION = tuple(level / 255 for level in PREDICTION_COLOUR)


def save(figure: Figure, path: Path) -> None:
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=120)


def cumulative_error_plot(nmes: Mapping[str, Array], note: str | None = None) -> Figure:
    """The cumulative error curve of each split (fractions of images by NME up to the failure threshold)."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    for split, values in nmes.items():
        thresholds, fractions = cumulative_error(values)
        failures, auc = failure_rate_and_auc(values)
        label = f"{_plain(split)}: NME {100 * values.mean():.2f} %, FR {100 * failures:.2f} %, AUC {auc:.3f}"
        axes.plot(100 * thresholds, 100 * fractions, label=label)
    axes.set(xlabel="NME, % of the distance of the outer eye corners", ylabel="images, %")
    axes.set(xlim=(0, 100 * FAILURE_THRESHOLD), ylim=(0, 102), title="Cumulative error")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="best")
    _add_note(figure, note)
    return figure


def gallery(
    images: Sequence[NDArray[np.uint8]],
    predicted: Array,
    truth: Array,
    titles: Sequence[str],
    heading: str,
    note: str | None = None,
) -> Figure:
    """Faces with prediction and truth: images (H, W, 3) RGB and landmarks (98, 2) as fractions of the side."""
    n_columns = min(4, len(images))
    n_rows = -(-len(images) // n_columns)
    figure = Figure(figsize=(3.2 * n_columns, 3.4 * n_rows + 0.7), layout="constrained")
    figure.suptitle(f"{_plain(heading)} — green: truth, red: prediction", fontsize=10)
    all_axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes in all_axes:
        axes.set_axis_off()
    for axes, image, prediction, landmarks, title in zip(all_axes, images, predicted, truth, titles, strict=False):
        side = image.shape[0]
        axes.imshow(image)
        _draw(axes, landmarks * side, _TRUTH)
        _draw(axes, prediction * side, _PREDICTION)
        axes.set(xlim=(0, side), ylim=(side, 0))
        axes.set_title(_plain(title), fontsize=8)
    _add_note(figure, note)
    return figure


def video_scatter(videos: Mapping[str, Mapping[str, float]], title: str, note: str | None = None) -> Figure:
    """NME against NMF, a point a video, the mean, and the names of those that flicker most."""
    names = list(videos)
    nme = np.array([videos[name]["NME"] for name in names])
    nmf = np.array([videos[name]["NMF"] for name in names])
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(nme, nmf, s=18, alpha=0.6)
    axes.scatter(
        [nme.mean()],
        [nmf.mean()],
        marker="+",
        s=160,
        color="black",
        label=f"mean: NME {nme.mean():.2f}, NMF {nmf.mean():.2f}",
    )
    for index in np.argsort(nmf)[::-1][:5]:
        axes.annotate(
            _plain(names[index]), (nme[index], nmf[index]), fontsize=7, xytext=(4, 4), textcoords="offset points"
        )
    axes.set(xlabel="NME, % of the distance of the outer eye corners", ylabel="NMF")
    axes.set_title(_plain(title), fontsize=10)
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _add_note(figure, note)
    return figure


def frame_curves(videos: Mapping[str, tuple[Array, Array]], title: str, note: str | None = None) -> Figure:
    """Error and flicker along videos: name → prediction and truth, each (frames, 98, 2) in frame pixels."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, (prediction, truth) in videos.items():
        flicker = frame_flicker(prediction, truth)
        (line,) = above.plot(frame_nme(prediction, truth), label=_plain(name), linewidth=1)
        below.plot(np.arange(1, len(truth)), flicker, color=line.get_color(), linewidth=1)
    above.set(ylabel="NME, %")
    above.set_title(_plain(title), fontsize=10)
    below.set(ylabel="flicker", xlabel="frame")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=0)
    above.legend(fontsize=8)
    _add_note(figure, note)
    return figure


def training_curves(columns: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Figure:
    """How a training run went: steps and values by the names of the log's columns."""
    panels = (
        ("loss", PARTS, "log"),
        ("validation, %", ("validation_NME", "validation_FR"), "log"),
        ("gradient norm", ("gradient_norm",), "log"),
        ("learning rate", ("lr",), "linear"),
        ("solver's iterations", ("iterations", "backward_iterations", "validation_iterations"), "linear"),
        ("relative residual", ("residual", "backward_residual"), "log"),
    )
    figure = Figure(figsize=(13, 7), layout="constrained")
    for axes, (title, names, scale) in zip(figure.subplots(2, 3).ravel(), panels, strict=True):
        for name in names:
            steps, values = columns.get(name, ((), ()))
            if any(value > 0 for value in values):
                axes.plot(steps, values, label=name.removeprefix("validation_"), linewidth=1)
        axes.set_yscale(scale)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend(fontsize=8)
    return figure


def face_curves_plot(curves: Mapping[str, Mapping[int, FaceCurve]], title: str, note: str | None = None) -> Figure:
    """Unsteadiness and mean uncertainty of each face over time: mode → face id → curve. The first mode is firm."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    n_faces = len(set().union(*curves.values()))
    for number, (mode, faces) in enumerate(curves.items()):
        style = {"linewidth": 1.0} if number == 0 else {"linewidth": 0.8, "linestyle": "--", "alpha": 0.7}
        for index, (id, curve) in enumerate(faces.items()):
            figures = curve.summary()
            # With a single face, modes have colours; with several, faces.
            colour = f"C{(index if n_faces > 1 else number) % 10}"
            label = f"face {id}, {mode}" if len(curves) > 1 else f"face {id}"
            if figures["jitter"] is not None:
                label += f": {figures['jitter']:.2f}"
            shown = label if index < MOST_LABELS else None
            above.plot(*_binned(curve.times[1:-1], curve.jitter), color=colour, label=shown, **style)
            below.plot(*_binned(curve.times, 100 * curve.uncertainty), color=colour, **style)
    above.set(ylabel="jitter")
    above.set_title(_plain(title), fontsize=10)
    below.set(ylabel="uncertainty, % of the crop's side", xlabel="seconds")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=0)
    if n_faces:
        above.legend(fontsize=8)
    _add_note(figure, note)
    return figure


def _binned(times: Array, values: Array) -> tuple[Array, Array]:
    """At most so many points as can be told apart: means over stretches of time. Gaps of a second stay gaps."""
    if len(times) > MOST_POINTS:
        stretches = np.array_split(np.arange(len(times)), MOST_POINTS)
        known = [part[np.isfinite(values[part])] for part in stretches]
        times = np.array([times[part].mean() for part in stretches])
        values = np.array([values[part].mean() if len(part) else np.nan for part in known])
    gaps = np.flatnonzero(np.diff(times) > max(1.0, 3 * float(np.median(np.diff(times))) if len(times) > 1 else 1.0))
    return np.insert(times, gaps + 1, np.nan), np.insert(values, gaps + 1, np.nan)


def _plain(name: str) -> str:
    """A file's or video's name as a label: no mathematics by its '$', and not hidden by a '_' at its beginning."""
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def _draw(axes: Axes, points: Array, colour: tuple[float, ...]) -> None:
    for first, last, closed in CURVES:
        curve = points[first : last + 1]
        if closed:
            curve = np.concatenate([curve, curve[:1]])
        axes.plot(curve[:, 0], curve[:, 1], color=colour, linewidth=0.6)
    axes.scatter(points[:, 0], points[:, 1], s=3, color=[colour], zorder=3)


def _add_note(figure: Figure, note: str | None) -> None:
    if note:
        figure.supxlabel(note, fontsize=8, color="firebrick")
