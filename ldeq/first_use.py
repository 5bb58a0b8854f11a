"""Trust on first use: what is published without a SHA-256 has to stay what it was when it was first downloaded."""

from pathlib import Path

from ldeq.errors import InputError
from ldeq.files import append_text, read_lines

#: The record's name in its folder: a line a file, its SHA-256 and its name, as ``sha256sum`` writes them.
RECORD = "download_sha256.txt"


def check_first_use(folder: Path, name: str, digest: str, what: str, remedy: str = "") -> None:
    """Compares a file with the first one of its name.

    Args:
        folder: the folder of the record, which need not be there.
        name: the file's name in the record, without spaces.
        digest: the file's SHA-256, in hexadecimal digits.
        what: the file as the subject of a message.
        remedy: what to do where the file is not right, as the beginning of a clause.

    Raises:
        InputError: where it is another file, or the record cannot be read.
    """
    known = _known(folder / RECORD, name)
    if known and digest not in known:
        remedy += f"to accept it, remove the line of {name} from {folder / RECORD}"
        raise InputError(f"{what}: has SHA-256 {digest}, expected {known[-1]} as at the first download; {remedy}")


def record_first_use(folder: Path, name: str, digest: str) -> None:
    """Records a file that has passed all checks, where there is none of its name yet.

    Raises:
        InputError: where the record cannot be read or written.
    """
    if not _known(folder / RECORD, name):
        append_text(folder / RECORD, f"{digest}  {name}\n")


def _known(record: Path, name: str) -> list[str]:
    """The SHA-256 that are on record for a name."""
    if not record.exists():
        return []
    expected = "expected a SHA-256 and a name a line"
    known = []
    for number, line in enumerate(read_lines(record, expected), 1):
        if not line.strip():
            continue
        words = line.split(maxsplit=1)
        if len(words) != 2 or len(words[0]) != 64 or set(words[0].lower()) - set("0123456789abcdef"):
            raise InputError(f"{record}, line {number}: is {line!r}, {expected}")
        if words[1].strip() == name:
            known.append(words[0].lower())
    return known
