"""What CenterFace finds by the size of faces, and where there are none: ``python -m benchmarks.detection``.

Faces of a data set in WFLW's layout are set into frames of 1920×1080, whose backgrounds are photographs without faces,
or made up if there are none. Frames and backgrounds are looked at once and twice, and closely and not.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.surroundings import random_background
from datasets.wflw import WFLWDataset
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.errors import InputError
from ldeq.face.bbox import overlap, tight_bbox
from ldeq.face.detectors import CenterFaceDetector
from ldeq.runtime.measurement import cpu_name
from ldeq.terminal import ProgressBar, console, table
from ldeq.video.media import read_image
from utils import bundled

SIZE = (1920, 1080)
#: Longer sides of the landmarks' boxes.
SIZES = (16, 20, 24, 32, 48, 64, 96, 140, 200)
#: Faces that are set into a frame: columns and rows.
_GRID = (6, 3)
#: A box that overlaps as much with a true one (intersection over union) is of that face.
_SAME = 0.15


class _Once(CenterFaceDetector):
    """CenterFace without a second look."""

    SURE, MOST_DOUBTFUL = 0.0, 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--faces", default=str(bundled.WFLW), metavar="FOLDER", help="a data set in WFLW's layout")
    parser.add_argument("--backgrounds", metavar="FOLDER", help="of images without faces")
    parser.add_argument("--n_faces", type=at_least(1, 100_000), default=100, help="of every size")
    parser.add_argument("--seed", type=at_least(0, 2**31), default=0, help="of places and made-up backgrounds")
    flags = parser.parse(arguments)
    rng = np.random.default_rng(flags.seed)
    images = list(backgrounds(flags.backgrounds, rng))
    faces = WFLWDataset(flags.faces, "test")
    work = [(index % len(faces), size) for index in range(flags.n_faces) for size in SIZES]
    rng.shuffle(work)
    frames = [work[at : at + _GRID[0] * _GRID[1]] for at in range(0, len(work), _GRID[0] * _GRID[1])]
    ways = [(cls, closely) for closely in (False, True) for cls in (_Once, CenterFaceDetector)]
    found: dict[int, list[list[bool]]] = {size: [] for size in SIZES}
    wrong = np.zeros(len(ways), dtype=int)
    detectors = [cls() for cls, _ in ways]
    for detector, (_, closely) in zip(detectors, ways, strict=True):
        detector.closely = closely
    with ProgressBar(len(frames) + len(images), "frame", "detection") as bar:
        for number, placed in enumerate(frames):
            frame = np.asarray(cv2.resize(images[number % len(images)], SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)
            truths = [set_in(frame, *faces[index], size, cell, rng) for cell, (index, size) in enumerate(placed)]
            seen = [detector.detect(frame) for detector in detectors]
            for (_, size), truth in zip(placed, truths, strict=True):
                found[size].append([any(overlap(truth, box) > _SAME for box in boxes) for boxes in seen])
            bar.advance()
        for image in images:
            wrong += [len(detector.detect(image)) for detector in detectors]
            bar.advance()
    rows = [[str(size), *(f"{100 * share:.0f}" for share in np.mean(found[size], axis=0))] for size in SIZES]
    rows.append([f"in {len(images)} backgrounds", *map(str, wrong)])
    out = console()
    out.print(cpu_name())
    columns = [
        f"{'closely' if closely else 'not closely'}, {'once' if cls is _Once else 'twice'}" for cls, closely in ways
    ]
    out.print(table("Percentage of faces found, by their size in pixels of 1920×1080", ["pixels", *columns], rows))


def backgrounds(folder: str | None, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """The images of a folder, or forty made-up ones."""
    if folder is not None:
        if not Path(folder).is_dir():
            raise InputError(f"{folder}: no such folder, expected images without faces")
        images = [read_image(path) for path in sorted(Path(folder).iterdir()) if path.is_file()]
        if not images or any(image is None for image in images):
            raise InputError(f"{folder}: holds no images, or other files too, expected images without faces")
        yield from (image for image in images if image is not None)
        return
    for _ in range(40):
        linear = random_background(rng, 540, 960)
        yield (255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def set_in(
    frame: NDArray[np.uint8],
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    size: int,
    cell: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Sets a face crop into a cell of a frame's grid, in place, and gives its landmarks' box, which has the size."""
    scale = size / float(np.ptp(landmarks, axis=0).max())
    width, height = SIZE[0] // _GRID[0], SIZE[1] // _GRID[1]
    side = min(round(scale), height - 8)
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    ramp = np.clip(6 * (1 - np.abs(np.linspace(-1, 1, side))), 0, 1)
    opacity = np.minimum.outer(ramp, ramp)[..., None]
    left = cell % _GRID[0] * width + int(rng.integers(4, width - side - 3))
    top = cell // _GRID[0] * height + int(rng.integers(4, height - side - 3))
    part = frame[top : top + side, left : left + side]
    part[:] = opacity * small + (1 - opacity) * part
    return tight_bbox(landmarks.astype(np.float64) * side + (left, top))


if __name__ == "__main__":
    run(main)
