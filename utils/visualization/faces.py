"""A plot of what is found of faces on a video without ground truth: jitter and uncertainty over time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ldeq.face.curves import FaceCurve
from utils.visualization.figures import Array, add_legend, add_note, plain, show_from_zero

#: Faces that the legend names, and points of a curve.
MOST_LABELS = 12
MOST_POINTS = 2000
#: Of the solutions, in turn; the first one is what the run is about.
_STYLES = (("-", 1.2), ("--", 0.9), (":", 1.0))


def face_curves_plot(curves: Mapping[str, Mapping[int, FaceCurve]], title: str, note: str | None = None) -> Figure:
    """Jitter and mean uncertainty of each face over time.

    Args:
        curves: by the name of the solution and the face's id. The first solution's lines are firm.
        title: of the plot.
        note: a sentence that goes below the axes.
    """
    ids = sorted(set().union(*curves.values()))
    alone = len(ids) == 1
    figure = Figure(figsize=(11.5, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for number, (mode, faces) in enumerate(curves.items()):
        style, width = _STYLES[number % len(_STYLES)]
        for id, curve in faces.items():
            # Faces have colours; of a single one, its solutions do.
            colour = f"C{(number if alone else ids.index(id)) % 10}"
            look = {"color": colour, "linestyle": style, "linewidth": width, "zorder": 3 - number / 10}
            named = alone or (number == 0 and ids.index(id) < MOST_LABELS)
            label = _with_jitter(mode if alone and len(curves) > 1 else f"face {id}", curve) if named else None
            _plot(above, curve.times[1:-1], curve.jitter, label, look)
            _plot(below, curve.times, 100 * curve.uncertainty, None, look)
    if len(ids) > MOST_LABELS:
        above.plot([], [], " ", label=f"and {len(ids) - MOST_LABELS} more")
    for number, mode in enumerate(curves if len(curves) > 1 and not alone else ()):
        style, width = _STYLES[number % len(_STYLES)]
        above.plot([], [], color="0.3", linestyle=style, linewidth=width, label=mode)
    above.set(ylabel="jitter")
    figure.suptitle(plain(title), fontsize=10)
    below.set(ylabel="uncertainty, % of the crop's side", xlabel="seconds")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        show_from_zero(axes)
    measured = any(np.isfinite(curve.jitter).any() for faces in curves.values() for curve in faces.values())
    add_legend(figure, above, "jitter: root mean square" if measured else None)
    add_note(figure, note)
    return figure


def _with_jitter(name: str, curve: FaceCurve) -> str:
    jitter = curve.summary()["jitter"]
    return name if jitter is None else f"{name}: {jitter:.2f}"


def _plot(axes: Axes, times: Array, values: Array, label: str | None, look: Mapping[str, Any]) -> None:
    """A curve with its gaps, and a dot for a point without neighbours, of which a line would show nothing."""
    times, values = _binned(times, values)
    axes.plot(times, values, label=label, **look)
    known = np.concatenate([[False], np.isfinite(values), [False]])
    lonely = known[1:-1] & ~known[:-2] & ~known[2:]
    axes.plot(times[lonely], values[lonely], ".", markersize=4, color=look["color"], zorder=look["zorder"])


def _binned(times: Array, values: Array) -> tuple[Array, Array]:
    """At most so many points as can be told apart: means over stretches of time. Gaps of a second stay gaps."""
    if len(times) > MOST_POINTS:
        stretches = np.array_split(np.arange(len(times)), MOST_POINTS)
        known = [part[np.isfinite(values[part])] for part in stretches]
        times = np.array([times[part].mean() for part in stretches])
        values = np.array([values[part].mean() if len(part) else np.nan for part in known])
    gaps = np.flatnonzero(np.diff(times) > max(1.0, 3 * float(np.median(np.diff(times))) if len(times) > 1 else 1.0))
    return np.insert(times, gaps + 1, np.nan), np.insert(values, gaps + 1, np.nan)
