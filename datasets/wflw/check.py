"""The check of a split of pre-cropped WFLW."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.checking import annotated_cell, checked_in_threads, spread
from datasets.wflw.precropped import ListedFace, has_faces, pad_to_landmarks, read_crop, read_faces
from datasets.wflw.splits import ATTRIBUTES
from ldeq import InputError, terminal
from ldeq.landmarks98 import CROP_SIZE

#: Faces of a split in the contact sheet.
_SHOWN = 8


@dataclass
class SplitCheck:
    """What a split has, and what is wrong with it."""

    split: str
    #: Faces without a problem.
    faces: list[ListedFace] = field(default_factory=list)
    #: A sentence each.
    problems: list[str] = field(default_factory=list)
    n_listed: int = 0
    #: Files in the split's folder that its list does not name.
    n_unlisted: int = 0


def check_split(root: Path, split: str, workers: int) -> SplitCheck:
    """Checks every line of a split's list and every image that it names.

    An empty list is none of the problems of a split by attribute: no face may have it.
    """
    check = SplitCheck(split)
    path = root / f"{split}.txt"
    if path.is_file() and split.removeprefix("test_") in ATTRIBUTES and not has_faces(path):
        return check
    listed: list[ListedFace] = []
    try:
        for face in read_faces(root, split):
            check.n_listed += 1
            if isinstance(face, InputError):
                check.problems.append(str(face))
            else:
                listed.append(face)
    except InputError as error:
        check.problems.append(str(error))
    with terminal.ProgressBar(len(listed), "image", split) as bar, checked_in_threads(_fault, listed, workers) as found:
        for face, fault in zip(listed, found, strict=True):
            if fault is None:
                check.faces.append(face)
            else:
                check.problems.append(fault)
            bar.advance()
    folder = root / split
    there = {path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."} if folder.is_dir() else set()
    check.n_unlisted = len(there - {face.path for face in listed})
    return check


def sheet_row(check: SplitCheck) -> list[NDArray[np.uint8]]:
    """Faces of a split as the network sees them, spread over its list, with their landmarks."""
    cells = []
    for index in spread(len(check.faces), _SHOWN):
        face = check.faces[index]
        image, landmarks = pad_to_landmarks(read_crop(face.path), face.landmarks)
        caption = f"{check.split} {face.name}"
        cells.append(annotated_cell(np.array(image), landmarks * CROP_SIZE, None, caption, (CROP_SIZE, CROP_SIZE)))
    return cells


def _fault(face: ListedFace) -> str | None:
    """What is wrong with the image of a face."""
    if not face.path.is_file():
        return f"{face.path}: no such file, expected the image that its list names"
    try:
        read_crop(face.path)
    except InputError as error:
        return str(error)
    return None
