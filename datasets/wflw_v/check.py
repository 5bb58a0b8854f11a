"""The check of WFLW-V's files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.checking import annotated_cell, checked_in_threads, spread
from datasets.wflw_v.clips import Clip
from datasets.wflw_v.download.annotations import read_extent
from datasets.wflw_v.download.paths import REJECTED
from datasets.wflw_v.download.videos import verify
from datasets.wflw_v.ids import ANNOTATIONS, ids_path, names_in, read_ids
from datasets.wflw_v.splits import SPLITS
from ldeq import InputError, terminal
from ldeq.files import is_file_name
from utils.download.failure import Failure

#: Videos in the contact sheet, a row each, frames of each, and the size of a cell in pixels.
SHOWN, _FRAMES_SHOWN, _CELL = 8, 4, (400, 300)


@dataclass
class ClipCheck:
    """What a video has, and what is wrong with it."""

    #: Annotated ones.
    n_frames: int = 0
    #: A sentence each.
    problems: list[str] = field(default_factory=list)


def listed_ids(root: Path) -> tuple[dict[str, list[str]], list[str]]:
    """The ids of each list that the folder has, those of lists and files by ``all``, and what is wrong with them."""
    lists, problems = {}, []
    for split in SPLITS:
        if ids_path(root, split).is_file():
            try:
                lists[split] = read_ids(root, split)
            except InputError as error:
                problems.append(str(error))
    files = {id for folder in ANNOTATIONS for id in names_in(root / folder, ".npy")}
    files |= {id for id in names_in(root / "videos", ".mp4") if not id.endswith(REJECTED)}
    problems += [
        f"{root}: {id!r} cannot be the name of a video, expected an id" for id in files if not is_file_name(id)
    ]
    named = [id for ids in lists.values() for id in ids]
    lists["all"] = list(dict.fromkeys([*named, *sorted(filter(is_file_name, files))]))
    return lists, problems


def check_clips(root: Path, ids: Sequence[str], workers: int) -> dict[str, ClipCheck]:
    """Checks the annotations of each video, and decodes it to its end."""
    with (
        terminal.ProgressBar(len(ids), "video", "WFLW-V") as bar,
        checked_in_threads(lambda id: _check_clip(Clip(root, id)), ids, workers) as found,
    ):
        checks = {}
        for id, check in zip(ids, found, strict=True):
            checks[id] = check
            bar.advance()
    return checks


def _check_clip(clip: Clip) -> ClipCheck:
    check = ClipCheck()
    files = (clip.bboxes_path, clip.landmarks_path, clip.video_path)
    missing = [path for path in files if not path.is_file()]
    check.problems += [f"{path}: no such file, expected one for every video" for path in missing]
    if clip.bboxes_path in missing or clip.landmarks_path in missing:
        return check
    try:
        extent = read_extent(clip.root, clip.id)
    except Failure as failure:
        check.problems.append(failure.message)
        return check
    check.n_frames = extent.n_frames
    if clip.video_path not in missing:
        try:
            verify(clip.video_path, extent)
        except Failure as failure:
            check.problems.append(f"{clip.video_path}: {failure.message}")
    return check


def sheet_row(root: Path, id: str) -> list[NDArray[np.uint8]]:
    """Frames of a video, from the first to the last, with their landmarks and boxes."""
    clip, cells = Clip(root, id), []
    bboxes, landmarks = clip.annotations()
    shown = spread(len(landmarks), _FRAMES_SHOWN)
    for index, found in enumerate(clip.frames(keep_frames=True)):
        if index in shown:
            assert found.frame is not None
            cells.append(annotated_cell(found.frame, landmarks[index], bboxes[index], f"{id} {index}", _CELL))
    return cells
