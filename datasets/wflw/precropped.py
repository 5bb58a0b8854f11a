"""WFLW, pre-cropped as the HIH project gives it: ``<root>/<split>.txt`` and 256×256 ``<root>/<split>/<file name>``."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from datasets.root import find_root
from datasets.wflw.splits import SPLITS, TRAIN
from ldeq import InputError
from ldeq.errors import reason_of
from ldeq.files import checked_name, is_file_name, read_lines, written_whole
from ldeq.landmarks98 import CROP_SIZE, N_LANDMARKS, OUTER_EYE_CORNERS

#: Landmarks may overflow the crop by half a pixel before it is padded. A fraction of the crop's side.
_TOLERANCE = 0.5 / CROP_SIZE
#: A landmark's greatest distance from the crop's centre, in sides of the crop; farther ones are in pixels, or slips.
_MAX_DISTANCE = 2.5
#: Outer eye corners closer than this fraction of the crop's side are one point: float32 tells no less apart.
_MIN_EYE_DISTANCE = 1e-6
#: Pixels of a padded border beyond the landmark that needed it.
_MARGIN = 8
_N_NUMBERS = 2 * N_LANDMARKS
_EXPECTED = f"expected a file name and {_N_NUMBERS} finite numbers"
_LAYOUT = "pre-cropped WFLW (<split>.txt and <split>/<file name>)"


@dataclass(frozen=True)
class ListedFace:
    """A line of a split's list."""

    #: Of its image, below the split's folder.
    name: str
    path: Path
    #: (98, 2), fractions of the crop's side, some outside [0, 1].
    landmarks: NDArray[np.float64]


class WFLWDataset:
    """A split. Item i is a face crop (256, 256, 3) uint8 RGB and its landmarks (98, 2) float32, fractions in [0, 1].

    Annotations are read and checked when the data set is made, and every image must be there; images are decoded when
    an item is asked for. Faces whose landmarks leave their crop are padded (:func:`pad_to_landmarks`).

    Args:
        root: folder of the pre-cropped data set, or one that has it in it.
        split: one of :data:`SPLITS`, or any other name that the folder has a list of (``train``).

    Raises:
        InputError: where the list is missing or a line of it is invalid, or images are missing (all are named); when
            an item is asked for, where its image cannot be read.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        if not is_file_name(split) or split == "file":
            raise InputError(f"{split!r} is no split, expected the name of a list in {root} ({', '.join(SPLITS)})")
        self.root = find_wflw(root, split)
        self.split = split
        self._faces: list[ListedFace] = []
        for face in read_faces(self.root, split):
            if isinstance(face, InputError):
                raise face
            self._faces.append(face)
        missing = [str(face.path) for face in self._faces if not face.path.is_file()]
        if missing:
            raise InputError(f"missing images, expected those that {self.root / split}.txt names: {', '.join(missing)}")

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        face = self._faces[index]
        image, landmarks = pad_to_landmarks(read_crop(face.path), face.landmarks)
        return np.array(image), landmarks.astype(np.float32)

    def name(self, index: int) -> str:
        """The file name of item ``index``, with its folders below the split's."""
        return self._faces[index].name

    def digest(self) -> str:
        """The SHA-256 of names and landmarks, in hexadecimal digits: the same wherever the data set is."""
        digest = hashlib.sha256()
        for face in self._faces:
            digest.update(face.name.encode() + b"\n" + face.landmarks.tobytes())
        return digest.hexdigest()


def find_wflw(root: str | Path, *splits: str) -> Path:
    """The folder of pre-cropped WFLW (:func:`datasets.root.find_root`): it has a list of WFLW's or of ``splits``."""
    lists = [f"{name}.txt" for name in dict.fromkeys((*splits, TRAIN, *SPLITS))]
    return find_root(root, lambda folder: any((folder / name).is_file() for name in lists), _LAYOUT)


def splits_with_faces(root: Path) -> list[str]:
    """Those of :data:`SPLITS` that a data set has faces of.

    An attribute that no face has makes an empty list. The full test set is not left out that way: without its list,
    images of it are a data set that has lost something.

    Raises:
        InputError: where there are none.
    """
    found = [split for split in SPLITS if has_faces(root / f"{split}.txt")]
    if SPLITS[0] not in found and (root / SPLITS[0]).is_dir() and any((root / SPLITS[0]).iterdir()):
        found = [SPLITS[0], *found]
    if not found:
        raise InputError(f"{root}: has no list of faces ({SPLITS[0]}.txt, …), expected {_LAYOUT}")
    return found


def has_faces(path: Path) -> bool:
    """True if there is a split's list at ``path``, and it has a line that is not blank."""
    if not path.is_file():
        return False
    with path.open("rb") as lines:
        return any(line.strip(b"\xef\xbb\xbf \t\r\n") for line in lines)


def pad_to_landmarks(image: Image.Image, landmarks: NDArray[np.float64]) -> tuple[Image.Image, NDArray[np.float64]]:
    """Pads a crop to hold its landmarks, by the published system's rule.

    If they overflow by less than half a pixel they are clipped. Otherwise each side that overflows gets a black border
    of ceil(overflow·256) + 8 pixels, the image is resized back (bicubic), the landmarks move along and are clipped.

    Args:
        image: the crop, 256×256.
        landmarks: (98, 2), fractions of the crop's side.

    Returns:
        The padded crop, 256×256, and the landmarks (98, 2) in [0, 1] as fractions of its side.
    """
    border = _border(landmarks)
    if any(border):
        padded = ImageOps.expand(image, border=border, fill=0)
        image = padded.resize((CROP_SIZE, CROP_SIZE))
    return image, _move_along(landmarks, border)


def _border(landmarks: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Pixels to add to the left, top, right and bottom of a crop, for landmarks in fractions of its side."""
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    overflows = np.array([-left, -top, right - 1, bottom - 1])
    if (overflows < _TOLERANCE).all():
        return 0, 0, 0, 0
    sides = [math.ceil(over * CROP_SIZE) + _MARGIN if over > 0 else 0 for over in overflows]
    return sides[0], sides[1], sides[2], sides[3]


def _move_along(landmarks: NDArray[np.float64], border: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """Landmarks in fractions of the crop's side, as fractions of the padded crop's, clipped to [0, 1]."""
    left, top, right, bottom = border
    size = np.array([CROP_SIZE + left + right, CROP_SIZE + top + bottom])
    moved: NDArray[np.float64] = (landmarks * CROP_SIZE + (left, top)) / size
    return moved.clip(0, 1)


def write_list(path: Path, names: Sequence[str], landmarks: Iterable[NDArray[np.floating]], digits: int = 8) -> None:
    """Writes a split's list: a line an image, of its file name and landmarks.

    Args:
        names: file names of the images.
        landmarks: (98, 2) of each image, fractions of the crop's side.
        digits: decimal places.
    """
    with written_whole(path) as temporary:
        lines = (
            " ".join([name, *(f"{value:.{digits}f}" for value in points.ravel())])
            for name, points in zip(names, landmarks, strict=True)
        )
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def listed_names(path: Path) -> list[str]:
    """The file names of a split's list, in its order.

    Raises:
        InputError: where it cannot be read, or a line of it is something else.
    """
    return [_split_line(line, where)[0] for where, line in _lines(path)]


def read_faces(root: Path, split: str) -> Iterator[ListedFace | InputError]:
    """The faces of a split's list, in its order; of a line that is something else, what is wrong with it.

    Raises:
        InputError: where the list cannot be read, or is empty.
    """
    path = root / f"{split}.txt"
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected WFLW's list of images and landmarks for this split")
    is_empty = True
    for where, line in _lines(path):
        is_empty = False
        try:
            yield _read_line(line, where, root / split)
        except InputError as error:
            yield error
    if is_empty:
        raise InputError(f"{path}: is empty, expected a line for every image")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not empty, each with a name of its position for messages before it."""
    lines = read_lines(path, "expected WFLW's list")
    return ((f"{path}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip())


def _split_line(line: str, where: str) -> tuple[str, list[str]]:
    """The file name of a line, and its numbers as words."""
    # A file name may have spaces, but what looks like a number after its first word is one.
    n_found = sum(1 for _ in takewhile(_is_number, reversed(line.split()[1:])))
    if n_found != _N_NUMBERS:
        raise InputError(f"{where}: has {n_found} numbers, {_EXPECTED}")
    name, *words = line.strip().rsplit(maxsplit=_N_NUMBERS)
    return name, words


def _read_line(line: str, where: str, folder: Path) -> ListedFace:
    name, words = _split_line(line, where)
    if name.startswith("/"):
        name = _below(name, folder)
    name = checked_name(name, where, "expected that of an image in the split's folder", may_have_folders=True)
    numbers = np.array([float(word) for word in words])
    if not np.isfinite(numbers).all():
        raise InputError(f"{where}: a coordinate is not finite, {_EXPECTED}")
    wrong = np.abs(numbers - 0.5) > _MAX_DISTANCE
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InputError(f"{where}: number {index + 1} is {words[index]}, expected fractions of the crop's side")
    landmarks = numbers.reshape(N_LANDMARKS, 2)
    one, other = OUTER_EYE_CORNERS
    seen = _move_along(landmarks, _border(landmarks))
    if np.linalg.norm(seen[one] - seen[other]) < _MIN_EYE_DISTANCE:
        raise InputError(
            f"{where}: landmarks {one} and {other} coincide, expected two outer eye corners to normalise by"
        )
    return ListedFace(name, folder / name, landmarks)


def _below(name: str, folder: Path) -> str:
    """An absolute name as one below ``folder``, where it is there."""
    for root in (folder.absolute(), folder.resolve()):
        if PurePosixPath(name).is_relative_to(root):
            return str(PurePosixPath(name).relative_to(root))
    return name


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_crop(path: Path) -> Image.Image:
    """The face crop of a file, 256×256 RGB.

    Raises:
        InputError: where it cannot be read, or is another image.
    """
    try:
        with Image.open(path) as image:
            if image.size != (CROP_SIZE, CROP_SIZE):
                size = f"{image.width}x{image.height}"
                raise InputError(f"{path}: is {size}, expected a {CROP_SIZE}x{CROP_SIZE} crop")
            if image.mode[0] in "IF":
                raise InputError(f"{path}: has pixels of mode {image.mode}, expected 8 bits a channel")
            # By way of RGBA where a palette has transparency, as Pillow wants it.
            return image.convert("RGBA" if "transparency" in image.info else "RGB").convert("RGB")
    except InputError:
        raise
    except Exception as error:  # Pillow raises whatever the damage in the file leads to
        raise InputError(f"{path}: cannot be read as an image ({reason_of(error)}), expected a face crop") from None
