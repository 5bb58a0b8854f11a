"""A map of the 98 landmarks."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ldeq.landmarks98 import CURVES, IBUG68, PARTS

#: Width and height in inches.
_SIZE = (9.0, 10.6)
_PART_COLOURS = ("C0", "C2", "C2", "C1", "C4", "C4", "C3", "C5", "C9")


def landmark_map(image: NDArray[np.uint8], points: NDArray[np.float64]) -> Figure:
    """The 98 landmarks on a face: their numbers, the parts in colours, and marks on those that stand for iBUG's 68.

    Args:
        image: (H, W, 3) RGB.
        points: (98, 2), in pixels of the image.
    """
    figure = Figure(figsize=_SIZE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image, alpha=0.35, interpolation="bicubic")
    low, high = points.min(axis=0), points.max(axis=0)
    width = 1.12 * (high[0] - low[0])
    height = width * _SIZE[1] / _SIZE[0]
    left, top = (low[0] + high[0] - width) / 2, low[1] - 0.06 * height
    axes.set(xlim=(left, left + width), ylim=(top + height, top))
    axes.set_axis_off()
    handles = []
    for (name, numbers), colour in zip(PARTS.items(), _PART_COLOURS, strict=True):
        for first, last, closed in CURVES:
            if first in numbers:
                line = points[[*range(first, last + 1), *([first] * closed)]]
                axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=1)
        for number in numbers:
            dx, dy = 11 * _label_direction(number, points)
            face = colour if number in IBUG68 else "white"
            axes.plot(*points[number], "o", markersize=5, color=colour, markerfacecolor=face)
            axes.annotate(
                str(number),
                points[number],
                xytext=(dx, -dy),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=8,
            )
        label = f"{numbers[0]}–{numbers[-1]}  {name}"
        handles.append(Line2D([], [], color=colour, marker="o", markersize=5, label=label))
    for face, label in (("0.3", "stands for one of iBUG's 68"), ("white", "has no counterpart there")):
        handles.append(Line2D([], [], color="0.3", linestyle="", marker="o", markerfacecolor=face, label=label))
    axes.legend(handles=handles, loc="lower center", ncols=3, fontsize=9, framealpha=0.9)
    return figure


def _label_direction(number: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction from a landmark to where its number stands: a unit vector (2,), down the image being positive."""
    part = next(name for name, numbers in PARTS.items() if number in numbers)
    if part == "nose":
        direction = np.array([1.0, 0.0]) if number < 55 else np.array([0.0, 1.0])
    elif part == "pupils":
        direction = np.array([0.0, 1.0])
    elif part.endswith("brow"):
        # The first five are the upper edge.
        direction = np.array([0.0, -1.0 if number < PARTS[part][5] else 1.0])
    else:
        members = points[list(PARTS[part])]
        centre = (members.min(axis=0) + members.max(axis=0)) / 2
        direction = points[number] - centre
        if part == "inner lips":
            direction = -direction
        # Across long and flat shapes, rather than along them.
        direction = direction / np.ptp(members, axis=0)
    unit: NDArray[np.float64] = direction / np.linalg.norm(direction)
    return unit
