"""The addresses where WFLW-V is published, and a JSON file of other ones."""

import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldeq import InputError
from ldeq.fetch import address_of, check_address
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
    """The address of a text file, and the SHA-256 of its content."""

    address: str
    #: In lower-case hexadecimal digits.
    sha256: str


@dataclass(frozen=True)
class Sources:
    """Web addresses, ids of Google Drive files, or (but for videos) paths of files that were downloaded by hand.

    Raises:
        InputError: where one is something else.
    """

    lists: Mapping[str, ListSource] = field(
        default_factory=lambda: {name: ListSource(_LISTS + name, digest) for name, digest in _SHA256.items()}
    )
    #: Archives of ``<id>.npy``.
    bboxes: str = "17r2w3abzUsPlsDfqYOsjGGkTp2nvHxds"
    landmarks: str = "1ITmlgXydTogFa5HkE0NvluKAxA4LCloj"
    #: One archive of bboxes, landmarks and videos.
    archive: str = "1YSJdgIb-vToJIAV04PGh_U7nX6dxVSjt"
    #: A web address with ``{id}`` for a video's id.
    video: str = YOUTUBE

    def __post_init__(self) -> None:
        address = self.video.replace("{id}", "id")
        if address == self.video or {"{", "}"} & set(address):
            expected = "expected an address with {id} in it and no other braces"
            raise InputError(f"video = {self.video!r}: is no address of videos, {expected}")
        sources = {"bboxes": self.bboxes, "landmarks": self.landmarks, "archive": self.archive}
        sources |= {f"lists, {name}": entry.address for name, entry in self.lists.items()}
        _check("video", check_address, address)
        for key, source in sources.items():
            _check(key, address_of, source)

    def address_of_video(self, id: str) -> str:
        """The web address of a video."""
        return self.video.replace("{id}", urllib.parse.quote(id, safe=""))


def _check(key: str, check: Callable[[str], object], source: str) -> None:
    try:
        check(source)
    except InputError as error:
        raise InputError(f"{key} = {error}") from None


def read_sources(path: str | Path) -> Sources:
    """The sources in a JSON file; those that it leaves out are the published ones.

    ``{"lists": {"easy_video_IDs.txt": {"address": …, "sha256": …}, …}, "bboxes": …, "landmarks": …, "archive": …,
    "video": "https://…/{id}.mp4"}``

    Raises:
        InputError: where it cannot be read or has something else in it.
    """
    expected = "expected a JSON object with some of lists, bboxes, landmarks, archive and video"
    content = read_json_object(path, expected)
    addresses = {key: value for key, value in content.items() if key != "lists"}
    for key, value in addresses.items():
        if key not in ("bboxes", "landmarks", "archive", "video") or not isinstance(value, str):
            raise InputError(f"{path}: {key!r} is {value!r}, {expected}, each an address")
    lists = {**Sources().lists, **_read_lists(path, content.get("lists", {}))}
    try:
        return Sources(lists=lists, **addresses)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


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
