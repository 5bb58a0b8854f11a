"""Renderings on disk: drawn once, by :func:`datasets.synthetic.writing.write_renderings`, and read many times.

``renderings/settings.json`` says how they were drawn, ``renderings/<number>.jpg`` are their images, and
``renderings/<number>.npz`` is what is known of :data:`CHUNK` of them from that number on. It is written when their
images are, so that a folder can be read while it is still being written.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.photographs import MARGIN, Rendering
from datasets.wflw.splits import ATTRIBUTES
from ldeq import InputError
from ldeq.files import read_archive, read_json_object, sha256_of_bytes
from ldeq.landmarks98 import N_LANDMARKS

#: Renderings whose landmarks are in one file.
CHUNK = 64
EXPECTED = "expected the --output_dir of python -m datasets.synthetic --renderings"
#: Names and shapes of the arrays of a chunk's file.
_ARRAYS = {"landmarks": (N_LANDMARKS, 2), "gain": (), "brightness": (), "attributes": (len(ATTRIBUTES),)}
#: OpenCV's ways to read an image at a part of its size, which spare most of the work of decoding.
_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}


class Renderings:
    """The renderings in a folder.

    Args:
        root: the folder that they were written to.
        count: only the first so many; 0 for all that are there now.

    Raises:
        InputError: where there are none, or fewer, or what is there cannot be read.
    """

    def __init__(self, root: str | Path, count: int = 0) -> None:
        self._folder = folder_of(Path(root))
        self.settings = read_settings(Path(root))
        chunks: list[list[NDArray[Any]]] = []
        found = 0
        while found % CHUNK == 0 and (not count or found < count):
            path = landmarks_path(self._folder, found)
            if not path.is_file():
                break
            chunks.append(read_chunk(path))
            found += len(chunks[-1][0])
        if not found:
            raise InputError(f"{self._folder}: no rendering is finished, {EXPECTED}")
        if found < count:
            raise InputError(f"{self._folder}: holds {found} renderings, expected at least {count}")
        whole = [np.concatenate(arrays)[: count or None] for arrays in zip(*chunks, strict=True)]
        self._landmarks, self._gain, self._brightness, self._attributes = whole

    def __len__(self) -> int:
        return len(self._landmarks)

    def digest(self) -> str:
        """The SHA-256 of the landmarks of all of them and of the first one's image."""
        return sha256_of_bytes(self._landmarks.tobytes() + _read_bytes(image_path(self._folder, 0)))

    def read(self, number: int, size: int) -> Rendering:
        """A rendering from which a crop of ``size`` pixels can be cut: smaller than it was written where that does.

        Raises:
            InputError: where its image cannot be read.
        """
        path = image_path(self._folder, number)
        coded = np.frombuffer(_read_bytes(path), dtype=np.uint8)
        reduction = max(part for part in _REDUCED if part == 1 or self.settings["side"] >= part * MARGIN * size)
        # OpenCV makes up what is missing of a file that was cut off.
        whole = coded[-2:].tolist() == [0xFF, 0xD9]
        image = cv2.imdecode(coded, _REDUCED[reduction]) if whole else None
        if image is None or image.shape[0] != image.shape[1]:
            raise InputError(f"{path}: cannot be decoded, expected the JPEG image of a rendering")
        return Rendering(
            np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8),
            self._landmarks[number].astype(np.float64),
            float(self._gain[number]),
            float(self._brightness[number]),
            frozenset(name for name, has in zip(ATTRIBUTES, self._attributes[number], strict=True) if has),
        )


def folder_of(root: Path) -> Path:
    """The folder of renderings in an output folder."""
    return root / "renderings"


def settings_path(root: Path) -> Path:
    return folder_of(root) / "settings.json"


def image_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.jpg"


def landmarks_path(folder: Path, first: int) -> Path:
    """The file of the landmarks of a chunk, which begins with rendering ``first``."""
    return folder / f"{first:06d}.npz"


def read_settings(root: Path) -> dict[str, Any]:
    """How the renderings in a folder were drawn.

    Raises:
        InputError: where there are none.
    """
    path = settings_path(root)
    settings = read_json_object(path, EXPECTED)
    if not isinstance(settings.get("side"), int) or settings["side"] < 1:
        raise InputError(f"{path}: has no side of the renderings, {EXPECTED}")
    return settings


def arrays_of(renderings: Sequence[Rendering]) -> dict[str, Any]:
    """What the file of a chunk has."""
    return {
        "landmarks": np.array([rendering.landmarks for rendering in renderings], dtype=np.float32),
        "gain": np.array([rendering.gain for rendering in renderings]),
        "brightness": np.array([rendering.brightness for rendering in renderings]),
        "attributes": np.array([[name in r.attributes for name in ATTRIBUTES] for r in renderings], dtype=np.uint8),
    }


def read_chunk(path: Path) -> list[NDArray[Any]]:
    """Landmarks (n, 98, 2), gain (n,), brightness (n,) and attributes (n, 6) of a chunk of n renderings.

    Raises:
        InputError: where there are none.
    """
    expected = f"landmarks of up to {CHUNK} renderings"
    arrays = read_archive(path, list(_ARRAYS), expected)
    n = arrays[0].size // (2 * N_LANDMARKS)
    if not 1 <= n <= CHUNK or [array.shape for array in arrays] != [(n, *shape) for shape in _ARRAYS.values()]:
        raise InputError(f"{path}: holds arrays of other shapes, expected {expected}")
    return arrays


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}), expected an image of a rendering"
        ) from None
