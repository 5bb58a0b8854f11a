"""What the checks of data sets share: problems in lines, and contact sheets of images with their annotations."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ldeq import terminal
from ldeq.drawing import PREDICTION_COLOUR, TRUTH_COLOUR, draw_caption, draw_landmarks
from ldeq.files import printable
from ldeq.video.media import write_image

T = TypeVar("T")
ResultT = TypeVar("ResultT")

#: The file that a check leaves.
SHEET = "contact_sheet.png"


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the indices 0 … count − 1, from the first to the last at equal distances."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, most))})


def annotated_cell(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.floating],
    bbox: NDArray[np.floating] | None,
    caption: str,
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """An image scaled into a cell, with landmarks (green) and bbox (red) drawn at the cell's resolution.

    Args:
        image: (H, W, 3) RGB.
        landmarks: (98, 2) in pixels of the image.
        bbox: x1, y1, x2, y2 in pixels of the image.
        size: width and height of the cell in pixels.
    """
    width, height = size
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    cell = np.zeros((height, width, 3), np.uint8)
    cell[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    if bbox is not None:
        x1, y1, x2, y2 = np.round(bbox * scale).clip(-4096, 4096).astype(int).tolist()
        cv2.rectangle(cell, (x1, y1), (x2, y2), PREDICTION_COLOUR)
    draw_landmarks(cell, landmarks * scale, TRUTH_COLOUR)
    draw_caption(cell, [(printable(caption), (255, 255, 255))])
    return cell


def write_sheet(path: Path, rows: Sequence[Sequence[NDArray[np.uint8]]]) -> None:
    """Writes rows of cells, all of one size, as one image; a row's missing cells are black.

    Raises:
        InputError: where the file cannot be written.
    """
    n_columns = max(map(len, rows))
    black = np.zeros_like(rows[0][0])
    lines = [np.concatenate([*row, *[black] * (n_columns - len(row))], axis=1) for row in rows]
    write_image(path, np.concatenate(lines))


@contextmanager
def checked_in_threads(work: Callable[[T], ResultT], items: Sequence[T], workers: int) -> Iterator[Iterator[ResultT]]:
    """The results of ``work`` for each item, in order, made by threads; what has not begun is dropped at an error."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield executor.map(work, items)
    finally:
        executor.shutdown(cancel_futures=True)


def end_check(counts: Table, problems: Sequence[str], remarks: Sequence[str | None]) -> None:
    """Prints a line a problem, the counts, and what else there is to say; exit status 1 where there are problems."""
    out = terminal.console()
    terminal.print_lines(out, problems)
    out.print(counts)
    found = f"{len(problems)} problem{'s' * (len(problems) != 1)}." if problems else "No problems."
    terminal.print_lines(out, [*remarks, found])
    if problems:
        sys.exit(1)
