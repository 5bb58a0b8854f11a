"""Synthetic faces drawn and off the disk, in faces a second: ``python -m benchmarks.faces FOLDER``.

The two take turns in one thread, so that a noisy machine disturbs both alike; figures are medians of rounds.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import torch

from benchmarks.common import describe_machine, medians_by_turns
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
        draws = {"drawn": faces.draw, "off the disk": _off_the_disk(renderings, size)}
        rounds = {name: _round_of(draw) for name, draw in draws.items()}
        seconds = medians_by_turns(rounds, flags.rounds, before=1)
        medians = {name: of_a_round / _ROUND for name, of_a_round in seconds.items()}
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


def _round_of(draw: Callable[[int], FaceImage]) -> Callable[[], None]:
    """Draws some faces, and others the next time."""
    numbers = itertools.count()

    def draw_some() -> None:
        for index in itertools.islice(numbers, _ROUND):
            draw(index)

    return draw_some


def _off_the_disk(renderings: Renderings, size: int) -> Callable[[int], FaceImage]:
    photographer = Photographer(0, size, augment=True)

    def draw(index: int) -> FaceImage:
        return photographer.photographs(renderings.read(index % len(renderings), size), index)[0]

    return draw


if __name__ == "__main__":
    run(main)
