"""Which videos a split of WFLW-V has.

The data set's three folders are published without id lists, which lie in the published repository: a list that the
folder does not have is fetched from there at the first need.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from datasets.root import find_root, visible_folders
from datasets.wflw_v.download.lists import (
    is_published,
    published_list,
    published_list_address,
    published_list_path,
)
from datasets.wflw_v.splits import SPLITS
from ldeq import InputError
from ldeq.files import checked_name, is_file_name, read_lines, written_whole

#: The folders with annotations: ``<id>.npy``, of each video.
ANNOTATIONS = ("bboxes", "landmarks")
_LAYOUT = "WFLW-V (bboxes/<id>.npy, landmarks/<id>.npy and videos/<id>.mp4)"


@dataclass(frozen=True)
class SplitIds:
    """The videos of a split."""

    ids: list[str]
    #: Videos of the split that the data set has no annotations of, with the reason why they are left out.
    lacking: dict[str, str] = field(default_factory=dict)


def find_wflw_v(root: str | Path) -> Path:
    """The folder of WFLW-V (:func:`datasets.root.find_root`), by its annotations."""
    return find_root(root, lambda folder: all((folder / name).is_dir() for name in ANNOTATIONS), _LAYOUT)


def ids_path(root: Path, split: str) -> Path:
    """The file of a split's id list."""
    return root / f"{split}_video_IDs.txt"


def split_ids(root: Path, split: str) -> SplitIds:
    """The ids of a split, in the order of its list.

    Args:
        split: ``hard``, ``easy``, another one that the folder has a list of, or ``all``: those of both lists, or,
            where the folder does not have both, of all that it has boxes and landmarks of, by their names.

    Raises:
        InputError: where a list is invalid or cannot be had, or the data set has no annotations of its videos.
    """
    names = SPLITS if split == "all" else (split,)
    if split == "all" and not all(ids_path(root, name).is_file() for name in names):
        return annotated_ids(root)
    parts = [_listed(root, name) for name in names]
    ids = list(dict.fromkeys(id for part in parts for id in part.ids))
    if not ids:
        path = ids_path(root, names[0])
        missing = "" if path.is_file() else "no such file, and "
        raise InputError(
            f"{path}: {missing}the data set has no video of the published {split} list, expected a list of its own "
            "there, or the split all (--WFLW_V_split all)"
        )
    return SplitIds(ids, {id: reason for part in parts for id, reason in part.lacking.items()})


def annotated_ids(root: Path) -> SplitIds:
    """The ids that a data set has boxes and landmarks of, by their names.

    Raises:
        InputError: where there are none.
    """
    found = {id for folder in ANNOTATIONS for id in names_in(root / folder, ".npy")}
    listing = _without_lacking(root, sorted(found), "expected boxes and landmarks of every video")
    if not listing.ids:
        raise InputError(f"{root}: {_what_there_is(root)}, expected {_LAYOUT}")
    return listing


def _listed(root: Path, split: str) -> SplitIds:
    path = ids_path(root, split)
    if split in SPLITS and not path.is_file():
        annotated_ids(root)  # what is no data set needs no list
        ids = _fetched_ids(path)
    else:
        ids = read_ids(root, split)
        if not is_published(path):
            return SplitIds(ids)  # whoever made the list made annotations to it
    return _without_lacking(root, ids, f"expected annotations of a video of the published {split} list")


def _fetched_ids(path: Path) -> list[str]:
    """The ids of the published list that takes the place of ``path``."""
    name = path.name
    try:
        text = published_list(name)
    except InputError as error:
        address = published_list_address(name)
        reason = str(error).removeprefix(f"{address}: ").partition(", expected")[0]
        raise InputError(
            f"{path}: no such file, and the published one, {address}, could not be had ({reason}), expected it there, "
            f"or at {published_list_path(name)}, or the split all, which needs no list (--WFLW_V_split all)"
        ) from None
    return _parse_ids(text.split("\n"), published_list_path(name))


def read_ids(root: Path, split: str) -> list[str]:
    """The ids of ``<root>/<split>_video_IDs.txt``, one a line; they may begin with '-'.

    Raises:
        InputError: where the list is missing, empty, repeats an id or has one that is no file name.
    """
    path = ids_path(root, split)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected the split's list of video ids")
    return _parse_ids(read_lines(path, "expected an id a line"), path)


def _parse_ids(lines: Iterable[str], path: Path) -> list[str]:
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        id = line.strip()
        if not id:
            continue
        checked_name(id, f"{path}, line {number}", "expected a video id")
        if id in seen:
            raise InputError(f"{path}, line {number}: repeats {id} of line {seen[id]}, expected every id once")
        seen[id] = number
    if not seen:
        raise InputError(f"{path}: is empty, expected an id a line")
    return list(seen)


def write_ids(root: Path, split: str, ids: Iterable[str]) -> None:
    """Writes a split's id list."""
    with written_whole(ids_path(root, split)) as temporary:
        temporary.write_text("".join(f"{id}\n" for id in ids), encoding="utf-8")


def _without_lacking(root: Path, ids: Iterable[str], expected: str) -> SplitIds:
    listing = SplitIds([])
    for id in ids:
        lacking = [path for name in ANNOTATIONS if not (path := root / name / f"{id}.npy").is_file()]
        if not is_file_name(id):
            listing.lacking[id] = f"{id!r} cannot be the name of a video, expected an id"
        elif lacking:
            listing.lacking[id] = f"{' and '.join(map(str, lacking))}: no such file, {expected}"
        else:
            listing.ids.append(id)
    return listing


def names_in(folder: Path, suffix: str) -> list[str]:
    """The names of the files with a suffix in a folder, without it, but for hidden ones."""
    found = folder.iterdir() if folder.is_dir() else ()
    return [path.name.removesuffix(suffix) for path in found if path.suffix == suffix and path.name[0] != "."]


def _what_there_is(root: Path) -> str:
    """In words, what a folder without annotated videos has in place of them."""
    missing = [name for name in ANNOTATIONS if not (root / name).is_dir()]
    if missing:
        there = ", ".join(path.name for path in visible_folders(root)[:5])
        return f"has no folder {missing[0]}" + (f", but {there}" if there else "")
    for name in ANNOTATIONS:
        if not names_in(root / name, ".npy"):
            files = (path for path in (root / name).iterdir() if path.name[0] != ".")
            kinds = Counter(path.suffix or "folders and others" for path in files)
            there = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(3)) or "nothing"
            return f"has no .npy in {name}, but {there}"
    return "has no video with both boxes and landmarks"
