"""A plot of how uncertain a network is of faces and of what is none."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from utils.visualization.figures import Array, add_legend, plain


def uncertainty_plot(doubts: Mapping[str, Array], limit: float) -> Figure:
    """The cumulative distributions of the median uncertainty of crops, with the limit above which there is no face.

    Args:
        doubts: (N,), fractions of the crop's side, by what the crops show.
        limit: in the same unit.
    """
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    axes = figure.subplots()
    for name, values in doubts.items():
        shares = 100 * np.arange(1, len(values) + 1) / len(values)
        axes.plot(np.sort(values), shares, label=f"{plain(name, 40)} ({len(values)})", drawstyle="steps-post")
    axes.axvline(limit, color="grey", linestyle="--", linewidth=1, label=f"limit, {limit:g}")
    axes.set_xscale("log")
    axes.set(xlabel="median uncertainty over a crop's points, fraction of its side", ylabel="crops up to it, %")
    axes.grid(alpha=0.3, which="both")
    add_legend(figure, axes)
    return figure
