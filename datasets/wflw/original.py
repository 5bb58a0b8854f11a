"""WFLW as its authors publish it: original images, and lists of faces with 98 landmarks, a bbox and six attributes."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.wflw.precropped import listed_names, write_list
from datasets.wflw.splits import ATTRIBUTES
from ldeq import InputError
from ldeq.files import cannot_be_written, checked_name, read_lines, written_whole
from ldeq.landmarks98 import CROP_SIZE, N_LANDMARKS
from ldeq.video.media import read_image

#: Side of the square around a face, relative to the larger side of its landmarks' extent.
_SCALE = 1.2
#: A face whose square is more times larger than its image is another image's.
_MAX_SQUARE = 4
_N_NUMBERS = 2 * N_LANDMARKS + 4 + len(ATTRIBUTES)
_EXPECTED = (
    f"expected {2 * N_LANDMARKS} coordinates, 4 of a bbox, {len(ATTRIBUTES)} attributes (0 or 1) and a file name"
)


@dataclass(frozen=True)
class Face:
    """A line of a list."""

    #: Path below the folder of images. An image may have several faces.
    image: str
    #: (98, 2) in pixels of the original image.
    landmarks: NDArray[np.float64]
    #: Some of :data:`datasets.wflw.splits.ATTRIBUTES`.
    attributes: frozenset[str]
    #: File name of its crop: the line's number and the image's name, which several faces may share.
    name: str


def find_list(folder: Path, part: str) -> Path:
    """The file of the list of ``part`` (train, test), in a folder or below it.

    Raises:
        InputError: where there is none, or are several.
    """
    name = f"list_98pt_rect_attr_{part}.txt"
    found = sorted(folder.rglob(name))
    if len(found) != 1:
        count = f"{len(found)} files" if found else "no file"
        raise InputError(f"{folder}: has {count} called {name}, expected one, here or in folders below")
    return found[0]


def read_list(path: Path) -> list[Face]:
    """The faces of a list, in its order.

    Raises:
        InputError: where it cannot be read, is empty, or a line of it is something else.
    """
    lines = read_lines(path, "expected WFLW's list of faces")
    faces = [_read_line(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]
    if not faces:
        raise InputError(f"{path}: is empty, expected a line for every face")
    return faces


def _read_line(line: str, number: int, path: Path) -> Face:
    where = f"{path}, line {number}"
    words = line.strip().split(maxsplit=_N_NUMBERS)
    try:
        numbers = np.array([float(word) for word in words[:_N_NUMBERS]])
    except ValueError:
        raise InputError(f"{where}: has a word where a number should be, {_EXPECTED}") from None
    if len(words) != _N_NUMBERS + 1:
        raise InputError(f"{where}: has {len(words)} words, {_EXPECTED}")
    landmarks, attributes = numbers[: 2 * N_LANDMARKS].reshape(-1, 2), numbers[-len(ATTRIBUTES) :]
    if not (np.abs(landmarks) < 1e6).all() or not np.isin(attributes, (0, 1)).all():
        raise InputError(f"{where}: has a number out of its range, {_EXPECTED}")
    image = checked_name(words[-1], where, "expected a path below the folder of images", may_have_folders=True)
    names = frozenset(name for name, value in zip(ATTRIBUTES, attributes, strict=True) if value)
    return Face(image, landmarks, names, f"{number:04d}_{PurePosixPath(image).stem}.png")


def splits_of(faces: Mapping[str, Sequence[Face]]) -> dict[str, list[Face]]:
    """All splits by name: those of ``faces`` (train, test), and ``test_<attribute>``, in the lists' order."""
    splits = {part: list(members) for part, members in faces.items()}
    for attribute in ATTRIBUTES:
        splits[f"test_{attribute}"] = [face for face in faces.get("test", ()) if attribute in face.attributes]
    return splits


def crop_square(landmarks: NDArray[np.float64]) -> tuple[int, int, int]:
    """The square around a face, which may leave its image.

    It is that of the HIH project, which follows PFLD (Guo et al. 2019): lo and hi are the truncated extremes of the
    landmarks, the centre is trunc(lo + (hi − lo + 1)/2), the side trunc(1.2·max(hi − lo + 1)), the corner
    centre − side // 2.

    Args:
        landmarks: (98, 2) in pixels of the original image.

    Returns:
        Left, top and side in pixels of the original image.
    """
    lo, hi = np.trunc(landmarks.min(axis=0)), np.trunc(landmarks.max(axis=0))
    extent = hi - lo + 1
    centre = np.trunc(lo + extent / 2).astype(int)
    side = int(np.trunc(_SCALE * extent.max()))
    left, top = (centre - side // 2).tolist()
    return left, top, side


def crop_face(
    image: NDArray[np.uint8], landmarks: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Crops a face by :func:`crop_square`, bilinearly, with black where the square leaves the image.

    Args:
        image: the original image (H, W, 3) uint8.
        landmarks: (98, 2) in pixels of the original image.

    Returns:
        The crop (256, 256, 3) uint8, and the landmarks (98, 2) as fractions of its side.
    """
    left, top, side = crop_square(landmarks)
    height, width = image.shape[:2]
    square = np.zeros((side, side, 3), np.uint8)
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x1 < x2 and y1 < y2:
        square[y1 - top : y2 - top, x1 - left : x2 - left] = image[y1:y2, x1:x2]
    resized = cv2.resize(square, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8), (landmarks - (left, top)) / side


def crop_split(
    faces: Sequence[Face],
    images: Path,
    output: Path,
    split: str,
    workers: int,
    on_faces: Callable[[int], object] = lambda n: None,
) -> None:
    """Writes the crops ``<output>/<split>/<name>`` and then, once all are written, the list ``<output>/<split>.txt``.

    Args:
        faces: the faces of the split, in the order of its list.
        images: the folder of original images.
        output: the folder of the pre-cropped data set.
        workers: number of threads.
        on_faces: is called with the number of faces that were written since its last call.

    Raises:
        InputError: where images cannot be read (all of them are named), files cannot be written, or the split has a
            list of other crops already.
    """
    folder = output / split
    _check_list(output / f"{split}.txt", {face.name for face in faces})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (output / f"{split}.txt").unlink(missing_ok=True)  # of an earlier run, whose crops are replaced
    except OSError as error:
        raise cannot_be_written(folder, error) from None

    def crop_one(face: Face) -> NDArray[np.float64]:
        crop_landmarks = _crop_to_file(images / face.image, face, folder)
        on_faces(1)
        return crop_landmarks

    crop_landmarks, problems = [], []
    with ThreadPoolExecutor(workers) as executor:
        futures = [executor.submit(crop_one, face) for face in faces]
        try:
            for future in futures:
                try:
                    crop_landmarks.append(future.result())
                except InputError as error:
                    problems.append(str(error))
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
    if problems:
        raise InputError("; ".join(dict.fromkeys(problems)))
    write_list(output / f"{split}.txt", [face.name for face in faces], crop_landmarks)


def _check_list(path: Path, names: set[str]) -> None:
    """Refuses to replace a list of anything but these crops."""
    try:
        ours = not path.exists() or names.issuperset(listed_names(path))
    except InputError:
        ours = False
    if not ours:
        raise InputError(f"{path}: is no list of these crops, expected another --output_folder")


def _crop_to_file(path: Path, face: Face, folder: Path) -> NDArray[np.float64]:
    """Writes the crop of a face, and gives its landmarks (98, 2) as fractions of the crop's side."""
    try:
        image = read_image(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected an image") from None
    if image is None:
        raise InputError(f"{path}: cannot be read as an image, expected an image of WFLW")
    if crop_square(face.landmarks)[2] > _MAX_SQUARE * max(image.shape[:2]):
        raise InputError(f"{path}: is {image.shape[1]}x{image.shape[0]}, expected an image that holds its landmarks")
    crop, crop_landmarks = crop_face(image, face.landmarks)
    with written_whole(folder / face.name) as temporary:
        temporary.write_bytes(cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1].tobytes())
    return crop_landmarks
