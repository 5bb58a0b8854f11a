"""Face crops with iBUG's 68 landmarks: ``<root>/test68.txt`` and 256×256 ``<root>/test/<file name>``."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.wflw.precropped import read_crop
from ldeq import InputError
from ldeq.files import checked_name, read_lines
from ldeq.landmarks98 import IBUG68, N_LANDMARKS
from utils.engine.evaluation import Sample

_SPLIT = "test"
_N_NUMBERS = 2 * len(IBUG68)
_EXPECTED = f"expected a file name and {_N_NUMBERS} finite numbers, fractions of the crop's side"


class Ibug68Dataset:
    """Item i is a face crop (256, 256, 3) uint8 RGB and its landmarks (98, 2) float32, fractions of its side.

    Of the 98, those that stand for iBUG's 68 (:data:`ldeq.landmarks98.IBUG68`) are there, and the others are NaN.

    Raises:
        InputError: where the list is missing, empty, or a line of it is something else; when an item is asked for,
            where its image cannot be read.
    """

    def __init__(self, root: str | Path) -> None:
        path = Path(root) / f"{_SPLIT}68.txt"
        if not path.is_file():
            raise InputError(f"{path}: no such file, expected a list of images and iBUG's 68 landmarks")
        self._faces: list[tuple[Path, NDArray[np.float32]]] = []
        for number, line in enumerate(read_lines(path, "expected a list of images and landmarks"), 1):
            if line.strip():
                name, landmarks = _read_line(line, f"{path}, line {number}")
                self._faces.append((Path(root) / _SPLIT / name, landmarks))
        if not self._faces:
            raise InputError(f"{path}: is empty, expected a line for every image")

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> Sample:
        path, landmarks = self._faces[index]
        return np.array(read_crop(path)), landmarks

    def name(self, index: int) -> str:
        """The file name of item ``index``."""
        return self._faces[index][0].name


def _read_line(line: str, where: str) -> tuple[str, NDArray[np.float32]]:
    name, *words = line.strip().rsplit(maxsplit=_N_NUMBERS)
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError as error:
        raise InputError(f"{where}: {error}, {_EXPECTED}") from None
    if len(numbers) != _N_NUMBERS or not np.isfinite(numbers).all():
        raise InputError(f"{where}: has {np.isfinite(numbers).sum()} finite numbers, {_EXPECTED}")
    landmarks = np.full((N_LANDMARKS, 2), np.nan, dtype=np.float32)
    landmarks[list(IBUG68)] = numbers.reshape(-1, 2)
    return checked_name(name, where, "expected that of an image"), landmarks
