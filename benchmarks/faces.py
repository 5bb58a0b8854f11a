"""Synthetic faces drawn and off the disk, in faces a second: ``python -m benchmarks.faces FOLDER``.

The two take turns in one thread, so that a noisy machine disturbs both alike; figures are medians of rounds.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import torch

from benchmarks.common import describe_machine
from datasets.synthetic import FaceImage, Photographer, Renderings, SyntheticFaces
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.terminal import console, table

#: Faces of a round.
_ROUND = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="--output_dir of python -m datasets.synthetic --renderings")
    parser.add_argument("--sizes", type=at_least(16, 1024), nargs="+", default=[256, 128], help="sides of the crops")
    parser.add_argument("--images_per_person", type=at_least(1, 64), default=4, help="of the faces that are drawn")
    parser.add_argument("--rounds", type=at_least(1, 10_000), default=9, help=f"of {_ROUND} faces of each sort")
    flags = parser.parse(arguments)
    cv2.setNumThreads(1)
    renderings = Renderings(flags.folder)
    rows = []
    for size in flags.sizes:
        faces = SyntheticFaces(0, size, images_per_person=flags.images_per_person, augment=True)
        medians = seconds_a_face({"drawn": faces.draw, "off the disk": _off_the_disk(renderings, size)}, flags.rounds)
        rows += [
            [size, name, f"{1e3 * median:.1f}", f"{1 / median:.0f}", f"{medians['drawn'] / median:.1f}"]
            for name, median in medians.items()
        ]
    images = list((Path(flags.folder) / "renderings").glob("*.jpg"))
    out = console()
    out.print(describe_machine(torch.device("cpu")))
    out.print(
        f"{len(renderings)} renderings, {sum(path.stat().st_size for path in images) / len(images):,.0f} bytes each"
    )
    out.print(table("Training's faces", ["side", "source", "ms a face", "faces/s", "speed-up"], rows, n_words=2))


def seconds_a_face(sources: Mapping[str, Callable[[int], FaceImage]], rounds: int) -> dict[str, float]:
    """Medians over rounds in which the sources take turns; the first round does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    for number in range(rounds + 1):
        for name, draw in sources.items():
            start = time.perf_counter()
            for index in range(number * _ROUND, (number + 1) * _ROUND):
                draw(index)
            seconds[name].append((time.perf_counter() - start) / _ROUND)
    return {name: statistics.median(measured[1:]) for name, measured in seconds.items()}


def _off_the_disk(renderings: Renderings, size: int) -> Callable[[int], FaceImage]:
    photographer = Photographer(0, size, augment=True)

    def draw(index: int) -> FaceImage:
        return photographer.photographs(renderings.read(index % len(renderings), size), index)[0]

    return draw


if __name__ == "__main__":
    run(main)
