"""A plot of how a training run went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from utils.engine.losses import PARTS

#: Up to so many points of a curve are marked, so that a single one is seen.
_MARKED = 30


@dataclass(frozen=True)
class _Panel:
    """One of the plot's axes: its label, and the log's columns in it by their names in the legend."""

    label: str
    columns: Mapping[str, str]
    #: Whether values are shown by their logarithm, which leaves out those that are not above 0.
    logarithmic: bool = False


class _PlainLabels(LogFormatter):
    """Labels the ticks that a logarithmic axis has room to label, with 0.6 and not 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


_PANELS = (
    _Panel("loss", {name: name for name in PARTS}, logarithmic=True),
    _Panel("validation NME, %", {"NME": "validation_NME"}, logarithmic=True),
    _Panel("validation FR, %", {"FR": "validation_FR"}),
    _Panel("validation AUC", {"AUC": "validation_AUC"}),
    _Panel("gradient norm", {"gradient norm": "gradient_norm"}, logarithmic=True),
    _Panel("learning rate", {"learning rate": "lr"}),
    _Panel(
        "solver's iterations",
        {"forward": "iterations", "backward": "backward_iterations", "validation": "validation_iterations"},
    ),
    _Panel("relative residual", {"forward": "residual", "backward": "backward_residual"}, logarithmic=True),
)


def training_curves(columns: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Figure:
    """How a training run went: steps and values by the names of the log's columns.

    Columns that are 0 throughout are left out.
    """
    figure = Figure(figsize=(16, 7), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 4).ravel(), _PANELS, strict=True):
        for label, name in panel.columns.items():
            steps, values = columns.get(name, ((), ()))
            if any(value > 0 for value in values):
                axes.plot(steps, values, "." * (len(steps) <= _MARKED) + "-", label=label, linewidth=1)
        if panel.logarithmic and axes.get_lines():
            axes.set_yscale("log")
            for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                set_formatter(_PlainLabels())
        axes.set_ylabel(panel.label, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8, which="both")
        axes.grid(alpha=0.3)
        if len(panel.columns) > 1 and axes.get_lines():
            # Above the axes, where it covers no data.
            axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return figure
