"""Where WFLW-V is published, and how to name other places that have it."""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldeq import InputError
from ldeq.files import read_json_object

RANGES = "download_ranges.txt"
_LISTS = "https://raw.githubusercontent.com/polo5/LDEQ_RwR/c9710751d1c20ca51fffd8d2dda6c6807c74f23b/datasets/WFLW_V/"
_SHA256 = {
    "easy_video_IDs.txt": "ee26f852466b2c7e0f5edd07c4e2d5f9ddf594ef89b67015c3c4a5c9a6e7580e",
    "hard_video_IDs.txt": "d492b8d6335462db8bf755600fa800340dce877c9b38501269d8f4e1d7fc4e1f",
    RANGES: "9b0ee057f64b66851c9c4bca8f109c23e149bcac6796572812638842089105fc",
}
YOUTUBE = "https://www.youtube.com/watch?v={id}"


@dataclass(frozen=True)
class ListSource:
    """A text file and what it must be."""

    address: str
    sha256: str


@dataclass(frozen=True)
class Sources:
    """Addresses, ids of Google Drive files, or (but for videos) paths of files that were downloaded by hand."""

    lists: Mapping[str, ListSource] = field(
        default_factory=lambda: {name: ListSource(_LISTS + name, digest) for name, digest in _SHA256.items()}
    )
    #: Archives of ``<id>.npy``.
    bboxes: str = "17r2w3abzUsPlsDfqYOsjGGkTp2nvHxds"
    landmarks: str = "1ITmlgXydTogFa5HkE0NvluKAxA4LCloj"
    #: One archive of boxes, landmarks and videos.
    archive: str = "1YSJdgIb-vToJIAV04PGh_U7nX6dxVSjt"
    #: With ``{id}`` in the place of a video's id.
    video: str = YOUTUBE


def read_sources(path: str | Path) -> Sources:
    """Sources from a JSON file; what it leaves out is where it is published.

    ``{"lists": {"easy_video_IDs.txt": {"address": …, "sha256": …}, …}, "bboxes": …, "landmarks": …, "archive": …,
    "video": "https://…/{id}.mp4"}``

    Raises:
        InputError: where it cannot be read or has something else in it.
    """
    expected = "expected a JSON object with some of lists, bboxes, landmarks, archive and video"
    content = read_json_object(path, expected)
    places = {key: value for key, value in content.items() if key != "lists"}
    for key, value in places.items():
        if key not in ("bboxes", "landmarks", "archive", "video") or not isinstance(value, str):
            raise InputError(f"{path}: {key!r} is {value!r}, {expected}, each an address")
    if not _has_id(places.get("video", YOUTUBE)):
        raise InputError(f"{path}: 'video' is {places['video']!r}, expected an address with {{id}} in it, and no other")
    lists = {**Sources().lists, **_read_lists(path, content.get("lists", {}))}
    return Sources(lists=lists, **places)


def _has_id(address: str) -> bool:
    try:
        return {name for _, name, _, _ in string.Formatter().parse(address) if name is not None} == {"id"}
    except ValueError:
        return False


def _read_lists(path: str | Path, content: Any) -> dict[str, ListSource]:
    names = ", ".join(_SHA256)
    if not isinstance(content, dict) or not content.keys() <= _SHA256.keys():
        raise InputError(f"{path}: 'lists' has other keys, expected some of {names}")
    lists = {}
    for name, entry in content.items():
        keys = {"address", "sha256"}
        if not isinstance(entry, dict) or entry.keys() != keys or not all(isinstance(entry[key], str) for key in keys):
            raise InputError(f"{path}: {name!r} in 'lists' is {entry!r}, expected an address and its sha256")
        lists[name] = ListSource(entry["address"], entry["sha256"].lower())
    return lists
