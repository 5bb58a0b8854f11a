"""What CenterFace finds by the size of faces, and where there are none: ``python -m benchmarks.detection``.

Faces of a data set in WFLW's layout are set into frames of 1920×1080, whose backgrounds are photographs without faces,
or made up if there are none. Frames and backgrounds are looked at once and twice, scaled to several sides.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.backgrounds import read_images
from datasets.synthetic.renderer.photography import Degradation, photograph
from datasets.synthetic.renderer.surroundings import random_background
from datasets.wflw import WFLWDataset
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.face.bbox import overlap, tight_bbox
from ldeq.face.detectors import CenterFaceDetector
from ldeq.processor import cpu_name
from ldeq.terminal import ProgressBar, console, table
from utils import bundled

SIZE = (1920, 1080)
#: Longer sides of the landmarks' boxes.
SIZES = (16, 20, 24, 32, 48, 64, 96, 140, 200)
#: Faces that are set into a frame: columns and rows.
_GRID = (6, 3)
#: A box that overlaps as much with a true one (intersection over union) is of that face.
_SAME = 0.15
#: Made-up backgrounds.
_N_BACKGROUNDS = 40


class _Once(CenterFaceDetector):
    """CenterFace without a second look."""

    SURE, MOST_DOUBTFUL = 0.0, 0


#: Ways to look: to which side frames are scaled, and whether what is doubtful is looked at twice.
WAYS = {
    "960": (960, _Once),
    "960, twice": (960, CenterFaceDetector),
    "1280": (1280, _Once),
    "1920": (1920, _Once),
    "1920, twice": (1920, CenterFaceDetector),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--faces", default=str(bundled.WFLW), metavar="FOLDER", help="a data set in WFLW's layout")
    parser.add_argument("--backgrounds", metavar="FOLDER", help="of images without faces")
    parser.add_argument("--n_faces", type=at_least(1, 100_000), default=100, metavar="N", help="of every size")
    parser.add_argument(
        "--seed", type=at_least(0, 2**31), default=0, metavar="N", help="of places and made-up backgrounds"
    )
    flags = parser.parse(arguments)
    rng = np.random.default_rng(flags.seed)
    faces = WFLWDataset(flags.faces, "test")
    images = read_images(flags.backgrounds) if flags.backgrounds else _made_up(rng)
    found, n_wrong = _measure(faces, images, flags.n_faces, rng)
    rows = [[str(size), *(f"{100 * share:.0f}" for share in np.mean(found[size], axis=0))] for size in SIZES]
    rows.append(["none", *map(str, n_wrong)])
    out = console()
    out.print(cpu_name())
    title = (
        "Percentage of faces found, by their size in pixels and the side to which 1920×1080 is scaled; below, boxes in "
        f"{len(images)} images without a face"
    )
    out.print(table(title, ["pixels", *WAYS], rows))


def _measure(
    faces: WFLWDataset, images: Sequence[NDArray[np.uint8]], n_faces: int, rng: np.random.Generator
) -> tuple[dict[int, list[list[bool]]], NDArray[np.int64]]:
    """By the size of faces, whether each was found in each of the :data:`WAYS`; and boxes found in images without."""
    work = [(index % len(faces), size) for index in range(n_faces) for size in SIZES]
    rng.shuffle(work)
    frames = [work[at : at + _GRID[0] * _GRID[1]] for at in range(0, len(work), _GRID[0] * _GRID[1])]
    detectors = [cls(side=side) for side, cls in WAYS.values()]
    for detector in detectors:
        detector.closely = False
    found: dict[int, list[list[bool]]] = {size: [] for size in SIZES}
    n_wrong = np.zeros(len(WAYS), dtype=np.int64)
    with ProgressBar(len(frames) + len(images), "frame", "detection") as bar:
        for number, placed in enumerate(frames):
            frame = np.asarray(cv2.resize(images[number % len(images)], SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)
            truths = [set_in(frame, *faces[index], size, cell, rng) for cell, (index, size) in enumerate(placed)]
            seen = [detector.detect(frame) for detector in detectors]
            for (_, size), truth in zip(placed, truths, strict=True):
                found[size].append([any(overlap(truth, box) > _SAME for box in boxes) for boxes in seen])
            bar.advance()
        for image in images:
            n_wrong += [len(detector.detect(image)) for detector in detectors]
            bar.advance()
    return found, n_wrong


def _made_up(rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Backgrounds without people, as a good camera takes them."""
    scenes = (random_background(rng, 540, 960, with_people=False) for _ in range(_N_BACKGROUNDS))
    return [photograph(scene, Degradation(noise=0.0), rng) for scene in scenes]


def set_in(
    frame: NDArray[np.uint8],
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    size: int,
    cell: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Sets a face crop into a cell of a frame's grid, in place.

    Args:
        frame: of :data:`SIZE`.
        image: (S, S, 3), the crop.
        landmarks: (98, 2), fractions of S.
        size: longer side of the landmarks' box in pixels of the frame; less where the crop would not fit into the cell.
        cell: its number, row by row.

    Returns:
        The landmarks' box (4,) in the frame.
    """
    scale = size / float(np.ptp(landmarks, axis=0).max())
    width, height = SIZE[0] // _GRID[0], SIZE[1] // _GRID[1]
    side = min(round(scale), width - 8, height - 8)
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
