"""One run at a time in a folder: a lock for as long as the run lives, which says who has it.

Not by filelock, which PyTorch brings along: its versions differ in what they do with the content of a lock's file, with
a fork and with the file at the end, and on some file systems newer ones leave locks that outlive a killed process.
"""

import functools
import json
import os
import secrets
import socket
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ldeq.errors import InputError, program_name
from ldeq.files import remove_temporaries

if sys.platform != "win32":
    import fcntl

#: The file in the folder that is locked. A killed run leaves it behind, unlocked.
NAME = ".ldeq-lock"
#: Of this process and those that it forks; containers may agree in the name of their host and in process ids.
_TOKEN = secrets.token_hex(8)


class FolderInUse(InputError):
    """Another process has the folder."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within the block no other process has the folder. A process that has it already has it once more.

    On a file system without locks, and on Windows, nothing keeps others out.

    Args:
        folder: one that is there.

    Raises:
        FolderInUse: where another process has it; nothing in it has been touched.
        OSError: where the lock's file cannot be made.
    """
    lock = _Lock(folder)
    try:
        yield
    finally:
        lock.release()


def remove_leftovers(folder: Path, *subfolders: str) -> None:
    """Removes the unfinished files of killed runs in a folder that is :func:`held`, and in folders below it.

    A folder below may be another run's own, whose files are not touched as long as it lives.
    """
    remove_temporaries(folder)
    for name in subfolders:
        if (folder / name).is_dir():
            with suppress(FolderInUse), held(folder / name):
                remove_temporaries(folder / name)


class _Lock:
    """A lock on a folder, or none where this process has one or there can be none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._descriptor: int | None = None
        if sys.platform == "win32":
            return
        while self._descriptor is None:
            descriptor = _opened(self._path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _read_owner(descriptor)
                os.close(descriptor)
                if (owner.get("process"), owner.get("token")) == (os.getpid(), _TOKEN):
                    return
                raise FolderInUse(_refusal(folder, owner)) from None
            except OSError:  # a file system without locks
                os.close(descriptor)
                return
            if _is_file_of(descriptor, self._path):
                self._descriptor = descriptor
            else:  # who had it has removed it meanwhile
                os.close(descriptor)
        with suppress(OSError):  # on a full disk, or where the file is another user's: nobody is told who has it
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(_this_process()).encode(), 0)
        # A forked process would keep the lock beyond its parent's death.
        os.register_at_fork(after_in_child=functools.partial(_forget, weakref.ref(self)))

    def release(self) -> None:
        """Ends the lock and removes its file."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._path.unlink()
            self.forget()

    def forget(self) -> None:
        """Closes this process's hold on the lock's file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _forget(lock: "weakref.ref[_Lock]") -> None:
    if (held := lock()) is not None:
        held.forget()


def _opened(path: Path) -> int:
    options = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | options, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY | options)  # another user's


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, Any]:
    """Who has a lock. Of the command no more than its name: its arguments may hold a proxy's password."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {
        "command": program_name(),
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": since,
        "token": _TOKEN,
    }


def _read_owner(descriptor: int) -> dict[str, Any]:
    for _ in range(10):
        with suppress(ValueError, OSError):
            owner = json.loads(os.pread(descriptor, 4096, 0))
            if isinstance(owner, dict):
                return owner
        time.sleep(0.02)  # it has been locked, and is about to be written
    return {}


def _refusal(folder: Path, owner: dict[str, Any]) -> str:
    words = [str(owner.get(name, "")) for name in ("command", "process", "host", "since")]
    who = "another run"
    if all(word and word.isprintable() for word in words):
        who = "{} (process {} on {}, since {})".format(*words)
    return f"{folder}: is in use by {who}, expected another folder, or this one once that has ended"
