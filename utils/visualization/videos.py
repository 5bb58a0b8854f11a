"""Plots of an evaluation on videos with ground truth: NME against NMF, and both along videos."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from ldeq.metrics import frame_flicker, frame_nme
from utils.visualization.figures import NME_LABEL, Array, add_legend, add_note, plain, show_from_zero

#: Videos that the scatter plot names, and characters of a name.
_NAMED, _LONGEST_NAME = 5, 40


def video_scatter(videos: Mapping[str, Mapping[str, float]], title: str, note: str | None = None) -> Figure:
    """NME against NMF, a point a video, the mean, and the names of those that flicker most.

    Args:
        videos: ``NME`` in percent and ``NMF`` of each, by its name.
        title: of the plot.
        note: a sentence that goes below the axes.
    """
    names = list(videos)
    nme = np.array([videos[name]["NME"] for name in names])
    nmf = np.array([videos[name]["NMF"] for name in names])
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    most = np.argsort(nmf)[::-1]
    for index in most[:_NAMED]:
        axes.plot(nme[index], nmf[index], "o", markersize=6, label=plain(names[index], _LONGEST_NAME))
    if len(most) > _NAMED:
        rest = most[_NAMED:]
        axes.plot(nme[rest], nmf[rest], "o", markersize=4, alpha=0.6, color="0.5", zorder=1, label="less flicker")
    label = f"mean: NME {nme.mean():.2f} %, NMF {nmf.mean():.2f}"
    axes.plot(nme.mean(), nmf.mean(), "k+", markersize=12, label=label)
    axes.set(xlabel=NME_LABEL, ylabel="NMF")
    figure.suptitle(plain(title), fontsize=10)
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    add_legend(figure, axes)
    add_note(figure, note)
    return figure


def frame_curves(videos: Mapping[str, tuple[Array, Array]], title: str, note: str | None = None) -> Figure:
    """NME and flicker along videos.

    Args:
        videos: prediction and truth, each (frames, 98, 2) in frame pixels, by the video's name.
        title: of the plot.
        note: a sentence that goes below the axes.
    """
    figure = Figure(figsize=(9 if len(videos) == 1 else 10.5, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, (prediction, truth) in videos.items():
        flicker = frame_flicker(prediction, truth)
        (line,) = above.plot(frame_nme(prediction, truth), label=plain(name, _LONGEST_NAME), linewidth=1)
        # Against the frame before, which the first one has not.
        below.plot(np.arange(1, len(truth)), flicker, color=line.get_color(), linewidth=1)
    above.set(ylabel="NME, %")
    figure.suptitle("\n".join(map(plain, title.splitlines())), fontsize=10)
    below.set(ylabel="flicker", xlabel="frame")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        show_from_zero(axes)
    if len(videos) > 1:
        add_legend(figure, above)
    add_note(figure, note)
    return figure
