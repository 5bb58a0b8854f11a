"""What the plots share: how they are written, how names stand in them, legends, axes and notes."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ldeq.fields import shortened
from ldeq.files import printable, written_whole

__all__ = ["NME_LABEL", "Axes", "Figure", "add_legend", "add_note", "panels", "plain", "save", "show_from_zero"]

Array = NDArray[np.floating[Any]]

#: Label of NME's axis.
NME_LABEL = "NME, % of the distance of the outer eye corners"
#: Free space between a curve and the border of its axes, as a fraction of the largest value.
_MARGIN = 0.04


def panels(n_panels: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure of ``size`` (width, height) inches with panels side by side."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, n_panels)))


def save(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Writes a figure as PNG with ``dpi`` pixels an inch, whole or not at all."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def plain(name: str, longest: int = 90) -> str:
    """A file's or video's name as a label: no mathematics by its '$', not hidden by a '_' at its beginning, and with
    characters that no font has escaped.

    Args:
        longest: characters; of a longer name the middle is left out.
    """
    name = "\n".join(map(printable, name.split("\n")))
    name = shortened(name, longest)
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def show_from_zero(axes: Axes) -> None:
    """Lets the vertical axis begin just below 0 and end just above the largest value, so that no curve lies on a
    border.
    """
    values = [np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.get_lines()]
    known = np.concatenate([part[np.isfinite(part)] for part in values] or [np.zeros(0)])
    top = float(known.max()) if known.size and known.max() > 0 else 1.0
    axes.set_ylim(-_MARGIN * top, (1 + _MARGIN) * top)


def add_legend(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """A legend of what is drawn in ``axes``, beside all axes, where it covers neither data nor the figure's title."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        legend = figure.legend(handles, labels, loc="outside right center", fontsize=8, title=title)
        legend.get_title().set_fontsize(8)


def add_note(figure: Figure, note: str | None) -> None:
    """A sentence below the axes on what to make of the figures, if there is one."""
    if note:
        figure.supxlabel(note, fontsize=8, color="firebrick")
