"""Draws ``weights/training/curves.png``: how the error of the bundled weights fell, from the logs of their stages.

python -m assets.plot_training
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from ldeq.command_line import ArgumentParser, run
from utils.visualization.figures import Figure, panels, save

LOGS = Path(__file__).parent / "weights" / "training"
#: Faces a step of each stage, in their order; names end in the side of the crops in pixels.
BATCH_SIZES = {
    "s64": 16, "s128": 12, "s256": 8, "a128": 16, "b128": 16, "c128": 16, "d128": 16, "e128": 16, "f256": 12,
    "g128": 16, "h256": 12, "i256": 12, "j256": 12, "k256": 12, "p128": 16,
    "q256": 12, "t128": 96, "u256": 64,
}  # fmt: skip
#: The stage that another one than the one before it goes on from.
STARTS = {"g128": "e128"}
#: The first stage on the generator with what photographs have, whose held-out crops are harder.
HARDER = "p128"


def validations(stage: str) -> list[tuple[int, float]]:
    """Faces seen in the stage, and NME in percent, at each validation."""
    with (LOGS / f"{stage}.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["validation_NME"]]
    return [(int(row["step"]) * BATCH_SIZES[stage], float(row["validation_NME"])) for row in rows]


def draw() -> Figure:
    figure, (axes,) = panels(1, (8.5, 4.2))
    ends = {"": 0}
    last = ""
    named: set[int] = set()
    for stage in BATCH_SIZES:
        start = ends[STARTS.get(stage, last)]
        points = validations(stage)
        if stage == HARDER:
            axes.axvline(start / 1000, color="grey", linestyle=":")
            axes.annotate(
                "other definitions, harder faces", (start / 1000, 18), textcoords="offset points", xytext=(-4, 0),
                ha="right", fontsize=8,
            )  # fmt: skip
        side = int(stage[1:])
        label = None if side in named else f"{side} pixels"
        named.add(side)
        x, y = [(start + seen) / 1000 for seen, _ in points], [nme for _, nme in points]
        axes.plot(x, y, "o-", markersize=4, color=f"C{(64, 128, 256).index(side)}", label=label)
        axes.annotate(
            stage[0], (x[-1], y[-1]), textcoords="offset points", xytext=(0, -7), ha="center", va="top", fontsize=8
        )
        ends[stage] = start + points[-1][0]
        last = stage
    axes.set(xlabel="synthetic faces seen, thousands", ylabel="NME of held-out crops, %", yscale="log")
    axes.set_yticks([4, 5, 6, 8, 10, 15, 20], labels=["4", "5", "6", "8", "10", "15", "20"])
    axes.set_ylim(bottom=3.8)  # room for the last stage's name
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    ArgumentParser(__doc__.splitlines()[0]).parse(arguments)
    save(draw(), LOGS / "curves.png")


if __name__ == "__main__":
    run(main)
