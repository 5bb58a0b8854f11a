"""Unpacking of archives that are not trusted."""

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ldeq import InputError
from ldeq.files import written_whole
from utils.download.failure import is_web_page

#: Exceptions that a damaged archive raises while it is read.
_DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class DamagedArchive(InputError):
    """A file that is no archive, is not whole, or has members that no honest archive has."""


def unpack(
    archive: Path,
    target_of: Callable[[PurePosixPath], Path | None],
    folder: Path,
    on_file: Callable[[Path], None] = lambda path: None,
) -> None:
    """Writes members of a ZIP or TAR (plain or compressed) archive to the paths that ``target_of`` gives.

    The archive's own paths have no other effect, and an archive with a member that would leave its folder, a link or a
    device is refused as a whole before anything is written: nobody makes such an archive by accident. So is one that
    is larger, unpacked, than the free space of the disk.

    Args:
        target_of: the path of the file that a member's path is written to; None leaves the member out.
        folder: a folder on the disk that the files go to.
        on_file: is called with the path of each file once it is written.

    Raises:
        DamagedArchive: where it is none of these archives, is refused or damaged.
        InputError: where files cannot be written.
    """
    try:
        with _opened(archive) as (members, read):
            wanted = [
                (name, target)
                for name, _ in members
                if (target := target_of(PurePosixPath(name.replace("\\", "/")))) is not None
            ]
            sizes = dict(members)
            _check_room(archive, sum(sizes[name] for name, _ in wanted), folder)
            for name, target in wanted:
                with written_whole(target) as temporary, read(name) as source, temporary.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                    if copy.tell() != sizes[name]:
                        raise DamagedArchive(f"{archive}: {name!r} has {copy.tell()} bytes, expected {sizes[name]}")
                on_file(target)
    except _DAMAGE_ERRORS as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedArchive(f"{archive}: cannot be unpacked ({reason}), expected a whole ZIP or TAR archive") from None


_Opened = tuple[list[tuple[str, int]], Callable[[str], IO[bytes]]]


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    """The names and sizes of an archive's files, and a function that opens one by its name."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith(("/", "\\"))]
            for entry in entries:
                # The upper half of the attributes is the Unix mode where a Unix made the archive, else 0.
                mode = entry.external_attr >> 16
                regular = not stat.S_IFMT(mode) or stat.S_ISREG(mode)
                _check_member(path, entry.filename, regular)
            yield [(entry.filename, entry.file_size) for entry in entries], archive.open
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            members = {member.name: member for member in tar if not member.isdir()}
            for name, member in members.items():
                _check_member(path, name, member.isreg())

            def read(name: str) -> IO[bytes]:
                file = tar.extractfile(members[name])
                assert file is not None  # it is regular
                return file

            yield [(name, member.size) for name, member in members.items()], read
    else:
        found = "a web page" if is_web_page(path) else "neither"
        raise DamagedArchive(f"{path}: is {found}, expected a ZIP or TAR archive")


def _check_member(archive: Path, name: str, regular: bool) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    drive = len(name) > 1 and name[1] == ":"
    if name.startswith(("/", "\\")) or drive or ".." in parts:
        raise DamagedArchive(f"{archive}: has a member {name!r} that leaves its folder, expected paths within it")
    if not regular:
        raise DamagedArchive(f"{archive}: has a member {name!r} that is a link or a device, expected files alone")


def _check_room(archive: Path, n_bytes: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise InputError(
            f"{archive}: has {n_bytes / 1e9:.1f} GB to unpack, expected no more than the {free / 1e9:.1f} GB that are "
            f"free at {folder}"
        )
