"""The id lists and frame ranges: their download, checked by SHA-256, and their reading."""

import tempfile
from pathlib import Path

from datasets.wflw_v.download.sources import RANGES, ListSource, Sources
from ldeq import InputError
from ldeq.fetch import Connection, RetryPolicy, fetch
from ldeq.files import read_lines, sha256_of, sha256_of_bytes, written_whole

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
            _fetch_list(path, source, connection, retry_policy)


def _fetch_list(path: Path, source: ListSource, connection: Connection, retry_policy: RetryPolicy) -> None:
    with tempfile.TemporaryDirectory(prefix="ldeq-") as folder:
        fetched = Path(folder) / path.name
        fetch(source.address, fetched, connection, retry_policy)
        content = _matching_content(fetched, source)
        if content is None:
            found = sha256_of(fetched)
            raise InputError(f"{source.address}: has SHA-256 {found}, expected {source.sha256} of {path.name}")
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
        id, first, last = words[0], int(words[1]), int(words[2])
        if last < first or last >= 2**31:
            raise InputError(f"{path}, line {number}: ends at frame {last} after it begins at {first}, {expected}")
        if ranges.setdefault(id, (first, last)) != (first, last):
            raise InputError(f"{path}, line {number}: gives {id} another range than before, expected one")
    return ranges
