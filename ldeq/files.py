"""Files: written whole or not at all, and read with one sentence about what is wrong with them."""

import csv
import errno
import hashlib
import io
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldeq.errors import InputError, reason_of
from ldeq.fields import shortened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Names of unfinished files, as :class:`WholeFile` makes them, and the bytes of a file's own name that they have.
TEMPORARY = re.compile(r"\..*\.unfinished-\w{8}(\.\w+)?")
_LONGEST_STEM = 200
#: Bytes of a name out of a file: the 255 of most file systems, but for the suffixes that names get.
_LONGEST_NAME = 240
#: Bytes of such a name with its folders.
_LONGEST_PATH = 1024
#: Unicode's categories of what is no text to be seen: controls, halves of characters, ends of lines, and formats, of
#: which those that join and part letters belong to the words of some languages.
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
#: Bytes of an array in a packed file at most, where a few could unpack to any number.
_MOST_UNPACKED = 2**30


class WholeFile:
    """A file that appears under its name when it is finished, and not before.

    Write to :attr:`temporary`, then :meth:`commit` or :meth:`discard`. A reader sees the old file or the new one,
    never a part.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept, so that libraries which choose a format by it still do.
        stem = os.fsencode(self.path.stem)[:_LONGEST_STEM].decode(errors="ignore")
        descriptor, name = tempfile.mkstemp(
            prefix=f".{stem}.unfinished-", suffix=self.path.suffix, dir=self.path.parent
        )
        os.close(descriptor)
        self.temporary = Path(name)

    def commit(self) -> None:
        # mkstemp makes files for their owner alone; results are for others as any file is.
        umask = os.umask(0)
        os.umask(umask)
        self.temporary.chmod(0o666 & ~umask)
        self.temporary.replace(self.path)

    def discard(self) -> None:
        self.temporary.unlink(missing_ok=True)


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path``, which becomes ``path`` if the block ends without an error.

    Raises:
        InputError: where the file cannot be written (a full disk, say).
    """
    try:
        whole = WholeFile(path)
        try:
            yield whole.temporary
            whole.commit()
        finally:
            whole.discard()
    except OSError as error:
        raise cannot_be_written(path, error) from None


def refuse_unwritable(path: str | Path) -> None:
    """Raises InputError where a file cannot be written, before what is to be in it has been made."""
    try:
        WholeFile(path).discard()
    except OSError as error:
        raise cannot_be_written(path, error) from None


def cannot_be_written(path: str | Path, error: OSError) -> InputError:
    """The error for a file that the system does not let us write; ``error`` may name the temporary one."""
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}), expected a disk with space and permission"
    )


def refuse_address(path: str | Path) -> None:
    """Raises InputError for a web address where a path is expected. ``Path`` would take one of its slashes away."""
    name = str(path)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", name) and not os.path.exists(name):  # one letter is a drive
        raise InputError(f"{name}: is an address, expected a path on this machine: download it first")


def is_file_name(name: str) -> bool:
    """True if a name out of a file may be a file's: it stays in the folder that it is joined to, on any system.

    It has no separators, drive and control characters, is neither empty nor ``.`` or ``..``, and not too long.
    """
    return _fault(name) is None


def checked_name(name: str, where: str, expected: str, *, may_have_folders: bool = False) -> str:
    """A name out of a file, before it becomes a part of a path: as of :func:`is_file_name`.

    Args:
        where: what a message begins with: the file, and its line.
        expected: the end of a message, "expected …".
        may_have_folders: the name may be a path with ``/``, each part of which is such a name; ``.`` parts are left
            out.

    Raises:
        InputError: where it is none.
    """
    parts = [part for part in name.split("/") if part != "."] if may_have_folders else [name]
    fault = next(filter(None, map(_fault, parts)), None if parts else "is empty")
    if may_have_folders and name.startswith("/"):
        fault = "is absolute"
    if fault is None and sum(len(part.encode()) + 1 for part in parts) > _LONGEST_PATH:
        fault = f"has more than {_LONGEST_PATH} bytes"
    if fault is not None:
        raise InputError(f"{where}: {shortened(name, _LONGEST_NAME)!r} cannot be a file name (it {fault}), {expected}")
    return "/".join(parts)


def _fault(name: str) -> str | None:
    """What is wrong with a name of a file or folder; None where nothing is."""
    if not name:
        return "is empty"
    if name in (".", ".."):
        return "leads to another folder"
    if {"/", "\\"} & set(name):
        return "has a separator of folders"
    if re.match("[A-Za-z]:", name):
        return "begins with a drive"
    if any(unicodedata.category(character) in _CONTROLS for character in name):
        return "has a control character"
    return f"has more than {_LONGEST_NAME} bytes" if len(name.encode()) > _LONGEST_NAME else None


def printable(text: str) -> str:
    """Text on its way to the terminal: what a terminal would obey, or not show, is escaped as Python does (``\\x1b``).

    Names, ids and messages out of files can hold sequences that write to the clipboard, move the cursor or turn the
    order of letters around. Results keep the text as it is; this is for where it is shown.
    """
    return "".join(
        character.encode("unicode_escape").decode() if _is_hidden(character) else character for character in text
    )


def _is_hidden(character: str) -> bool:
    category = unicodedata.category(character)
    return category in _CONTROLS or (category == "Cf" and character not in _JOINERS)


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a text file, without their ends and a byte order mark.

    Args:
        expected: the end of a message, "expected …".

    Raises:
        InputError: where there is no file, or one that is no text.
    """
    try:
        # Not str.splitlines, for which a name that has one of Unicode's further line ends is two lines.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}), {expected}") from None


def read_array(path: Path, expected: str = "a NumPy array of numbers") -> "NDArray[np.float64]":
    """The numbers of a ``.npy`` file, of any shape.

    Args:
        expected: what the file should hold, for a message.

    Raises:
        InputError: where there is no file, or one that holds something else: also where elements are booleans, complex
            numbers, strings, dates or records.
    """
    import numpy as np

    try:
        # Mapped, a header that promises more than the file holds is refused before anything is allocated.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive of arrays")
        if array.dtype.kind not in "iuf":
            raise ValueError(f"elements of type {array.dtype}")
        return np.array(array, dtype=np.float64)
    except Exception as error:  # NumPy raises whatever the damage in the file leads to
        raise InputError(f"{path}: cannot be read ({reason_of(error)}), expected {expected}") from None


def read_archive(path: Path, names: Sequence[str], expected: str) -> "list[NDArray[Any]]":
    """Arrays of numbers out of an ``.npz`` file, by their names.

    Args:
        expected: as of :func:`read_array`.

    Raises:
        InputError: where there is no file, or one that holds something else.
    """
    import numpy as np

    arrays = []
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in names:
                size = archive.zip.getinfo(f"{name}.npy").file_size
                if size > _MOST_UNPACKED:
                    raise ValueError(f"{name} of {size:,} bytes, more than {_MOST_UNPACKED:,}")
                arrays.append(archive[name])
                if arrays[-1].dtype.kind not in "iuf":
                    raise ValueError(f"{name} with elements of type {arrays[-1].dtype}")
    except Exception as error:  # as above
        raise InputError(f"{path}: cannot be read ({reason_of(error)}), expected {expected}") from None
    return arrays


def read_json_object(path: str | Path, expected: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        expected: the end of a message, "expected …".

    Raises:
        InputError: where there is no file, or another thing in it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, {expected}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}), {expected}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no object but a {type(content).__name__}, {expected}")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes an object, floats in full."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes one row a mapping under the names of all columns, floats in full; what a row lacks is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = csv_text([columns, *([row.get(name) for name in columns] for row in rows)])
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows of cells as lines of CSV, quoted where needed; floats in full, None empty."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def append_text(path: Path, text: str) -> None:
    """Adds text to the end of a file, which is made if it is not there, by a single unbuffered write.

    A process that is killed leaves all of the text or, where a file system splits the write, a first part of it.

    Raises:
        InputError: where the file cannot be written (a full disk, say).
    """
    content = text.encode("utf-8")
    try:
        with path.open("ab", buffering=0) as file:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise cannot_be_written(path, error) from None


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def remove_temporaries(folder: Path) -> None:
    """Removes this module's temporary files in ``folder`` itself, which nobody else must be writing to.

    See :func:`ldeq.folder_lock.remove_leftovers`.
    """
    for path in folder.glob(".*"):
        if path.is_file() and TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)
