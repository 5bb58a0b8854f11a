"""The id lists and frame ranges: fetched, checked by their digest, and read."""

import hashlib
import tempfile
from pathlib import Path

from datasets.wflw_v.download.sources import RANGES, ListSource, Sources
from ldeq import InputError
from ldeq.fetch import Connection, Patience, fetch
from ldeq.files import written_whole

Range = tuple[int, int]


def fetch_lists(root: Path, sources: Sources, connection: Connection, patience: Patience) -> None:
    """Puts the lists into ``root``. Those that are there and right stay; others are fetched.

    Raises:
        InputError: where one cannot be had, or is not what its SHA-256 says.
    """
    for name, source in sources.lists.items():
        path = root / name
        if not (path.is_file() and _right_content(path, source) is not None):
            _fetch_list(path, source, connection, patience)


def _fetch_list(path: Path, source: ListSource, connection: Connection, patience: Patience) -> None:
    with tempfile.TemporaryDirectory(prefix="ldeq-") as folder:
        fetched = Path(folder) / path.name
        fetch(source.address, fetched, connection, patience)
        content = _right_content(fetched, source)
        if content is None:
            digest = hashlib.sha256(fetched.read_bytes()).hexdigest()
            raise InputError(f"{source.address}: has SHA-256 {digest}, expected {source.sha256} of {path.name}")
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def _right_content(path: Path, source: ListSource) -> bytes | None:
    """The list's bytes if it is the right one. Line ends do not count: Git and mail change them."""
    content = path.read_bytes()
    for form in (content, content.replace(b"\r\n", b"\n")):
        if hashlib.sha256(form).hexdigest() == source.sha256:
            return form
    return None


def read_ranges(root: Path) -> dict[str, Range]:
    """First and last frame, both included, by id.

    Raises:
        InputError: where a line is no id with two frame numbers, or contradicts another.
    """
    path = root / RANGES
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}), expected a frame range a line") from None
    ranges: dict[str, Range] = {}
    for number, line in enumerate(lines, 1):
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
