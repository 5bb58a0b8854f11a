"""The id lists and frame ranges: their download, checked by SHA-256, and their reading."""

import tempfile
from contextlib import suppress
from pathlib import Path

from datasets.wflw_v.download.sources import RANGES, ListSource, Sources
from ldeq import InputError
from ldeq.fetch import Connection, RetryPolicy, fetch
from ldeq.files import checked_name, read_lines, sha256_of, sha256_of_bytes, written_whole
from ldeq.pretrained import cache_folder

#: First and last frame, both included, from 0.
FrameRange = tuple[int, int]


def fetch_lists(root: Path, sources: Sources, connection: Connection, retry_policy: RetryPolicy) -> None:
    """Downloads the lists that ``root`` does not have yet, or has with another content.

    Raises:
        InputError: where a list cannot be downloaded, or has another SHA-256.
    """
    for name, source in sources.lists.items():
        path = root / name
        if not (path.is_file() and _matching_content(path, source) is not None):
            _write(path, _fetch_list(name, source, connection, retry_policy))


def is_published(path: Path) -> bool:
    """True if an id list is the published one of its name."""
    source = Sources().lists.get(path.name)
    return source is not None and _matching_content(path, source) is not None


def published_list_address(name: str) -> str:
    """The web address of a published id list."""
    return Sources().lists[name].address


def published_list_path(name: str) -> Path:
    """The place of a published id list in the user's cache."""
    return cache_folder() / "wflw_v" / name


def published_list(name: str) -> str:
    """The content of a published id list, out of the user's cache, to which it is fetched at the first need.

    Args:
        name: ``hard_video_IDs.txt`` or ``easy_video_IDs.txt``.

    Raises:
        InputError: where it cannot be downloaded, or has another SHA-256.
    """
    source, path = Sources().lists[name], published_list_path(name)
    content = _matching_content(path, source) if path.is_file() else None
    if content is None:
        # It is small, and who is not connected is told so soon.
        content = _fetch_list(name, source, Connection(), RetryPolicy(retries=1, delay=1.0))
        with suppress(InputError, OSError):  # a cache that cannot be written to is none
            _write(path, content)
    return content.decode()


def _fetch_list(name: str, source: ListSource, connection: Connection, retry_policy: RetryPolicy) -> bytes:
    with tempfile.TemporaryDirectory(prefix="ldeq-") as folder:
        fetched = Path(folder) / name
        fetch(source.address, fetched, connection, retry_policy)
        content = _matching_content(fetched, source)
        if content is None:
            found = sha256_of(fetched)
            raise InputError(f"{source.address}: has SHA-256 {found}, expected {source.sha256} of {name}")
    return content


def _write(path: Path, content: bytes) -> None:
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def _matching_content(path: Path, source: ListSource) -> bytes | None:
    """The list's bytes if they have the expected SHA-256. Line ends do not count: Git and mail change them."""
    content = path.read_bytes()
    for candidate in (content, content.replace(b"\r\n", b"\n")):
        if sha256_of_bytes(candidate) == source.sha256:
            return candidate
    return None


def read_ranges(root: Path) -> dict[str, FrameRange]:
    """The frame ranges of all videos by id.

    Raises:
        InputError: where a line is no id with two frame numbers, or contradicts another.
    """
    path = root / RANGES
    ranges: dict[str, FrameRange] = {}
    for number, line in enumerate(read_lines(path, "expected a frame range a line"), 1):
        words = line.split()
        if not words:
            continue
        expected = "expected an id and its first and last frame"
        if len(words) != 3 or not all(word.isascii() and word.isdecimal() for word in words[1:]):
            raise InputError(f"{path}, line {number}: is {line.strip()!r}, {expected}")
        id = checked_name(words[0], f"{path}, line {number}", expected)
        first, last = int(words[1]), int(words[2])
        if last < first or last >= 2**31:
            raise InputError(f"{path}, line {number}: ends at frame {last} after it begins at {first}, {expected}")
        if ranges.setdefault(id, (first, last)) != (first, last):
            raise InputError(f"{path}, line {number}: gives {id} another range than before, expected one")
    return ranges
