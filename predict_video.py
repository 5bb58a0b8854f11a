"""Landmarks on any video: a file, an image, a folder of images or a camera, with recurrence without recurrence (RwR).

The command ``ldeq-video`` of the package, and a plot of what it found.
"""

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

    from ldeq.torchrun import end_with_torchrun

    end_with_torchrun()  # before the imports that take seconds: after its end nothing says whose process this was

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ldeq import predict
from ldeq.command_line import run

if TYPE_CHECKING:
    from ldeq.prediction import Finished


def main(arguments: Sequence[str] | None = None) -> None:
    """Predicts as the command line (or ``arguments``) says."""
    predict.main(arguments, on_finished=plot)


def plot(finished: "Finished") -> None:
    """Writes ``plot.png``: jitter and mean uncertainty of each face over time."""
    from utils.visualization.faces import face_curves_plot
    from utils.visualization.figures import save

    figure = face_curves_plot(finished.modes, finished.title, finished.note)
    save(figure, finished.folder / "plot.png")


if __name__ == "__main__":
    run(main)
