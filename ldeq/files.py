"""Files: written whole or not at all, and read with one sentence about what is wrong with them."""

import csv
import errno
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldeq.errors import InputError, reason_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Names of unfinished files, as :class:`WholeFile` makes them.
_TEMPORARY = re.compile(r"\..*\.unfinished-\w{8}(\.\w+)?")


class WholeFile:
    """A file that appears under its name when it is finished, and not before.

    Write to :attr:`temporary`, then :meth:`commit` or :meth:`discard`. A reader sees the old file or the new one,
    never a part.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept, so that libraries which choose a format by it still do.
        descriptor, name = tempfile.mkstemp(
            prefix=f".{self.path.stem}.unfinished-", suffix=self.path.suffix, dir=self.path.parent
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


def cannot_be_written(path: str | Path, error: OSError) -> InputError:
    """The error for a file that the system does not let us write; ``error`` may name the temporary one."""
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}), expected a disk with space and permission"
    )


def is_file_name(name: str) -> bool:
    """True if a name stays in the folder that it is joined to: no separators, and neither empty nor ``.`` or ``..``."""
    return not {"/", "\\", "\0"} & set(name) and name not in ("", ".", "..")


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a text file, without their ends and a byte order mark.

    Args:
        expected: the end of a message, "expected …".

    Raises:
        InputError: where there is no file, or one that is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}), {expected}") from None


def read_array(path: Path) -> "NDArray[np.float64]":
    """The numbers of a ``.npy`` file, of any shape.

    Raises:
        InputError: where there is no file, or one that holds something else.
    """
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
        if array.dtype.kind not in "iuf":
            raise ValueError(f"elements of type {array.dtype}")
        return np.asarray(array, dtype=np.float64)
    except Exception as error:  # NumPy raises whatever the damage in the file leads to
        raise InputError(f"{path}: cannot be read ({reason_of(error)}), expected a NumPy array of numbers") from None


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
        if path.is_file() and _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)
