"""Unpacking of archives that are not trusted."""

import bz2
import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from ldeq.errors import InputError, reason_of
from ldeq.files import WholeFile, cannot_be_written
from utils.download.failure import is_web_page

#: Bytes that are read, or unpacked, at a time.
_CHUNK = 1 << 20
#: Bounds that no archive of a data set comes near: its number of members, and its size once it is unpacked, as a
#: multiple of its own and so many bytes (small archives of small files are mostly padding).
_MAX_MEMBERS = 100_000
_MAX_GROWTH, _MAX_SMALL = 100, 1 << 26
#: Memory that an XZ or LZMA stream may ask for: ``xz -9`` takes an eighth of it.
_MAX_XZ_MEMORY = 1 << 29
#: Encryption of a member, and of a ZIP's directory.
_ENCRYPTED = 0x1 | 0x2000
#: The record at the end of a ZIP file, and its length without its comment.
_ZIP_END, _ZIP_END_LENGTH = b"PK\x05\x06", 22
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x07\x08", _ZIP_END)


class DamagedArchive(InputError):
    """A file that is no archive, is not whole, or has members that no honest archive has."""


@dataclass(frozen=True)
class _Member:
    """A file in an archive, which is read before the next one is asked for."""

    name: str
    size: int
    file: IO[bytes]


class _Decompressor(Protocol):
    """The interface of the decompressors of bz2, lzma and zstd, each of one stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def unpack(
    archive: Path,
    target_of: Callable[[PurePosixPath], Path | None],
    folder: Path,
    on_file: Callable[[Path], None] = lambda path: None,
    *,
    name: str | None = None,
    accept: Callable[[], None] = lambda: None,
) -> None:
    """Writes members of an archive to the paths that ``target_of`` gives: all of them, or none.

    The archive is a ZIP, or a TAR, plain or compressed (gzip, bzip2, XZ, LZMA, and Zstandard where Python has it). It
    is read to its very end, members that are left out included, with the checksums of its format, before any file
    gets its name: tarfile stops before the checksum of what compresses the archive. (A plain TAR has checksums of
    its headers alone, and LZMA none.)

    The archive's own paths have no other effect, and an archive with a member that would leave its folder, a link or a
    device is refused as a whole: nobody makes such an archive by accident. So is one that asks for a password, has two
    members for one file, or unpacks to a multiple of its size that no data have; and one that is larger, unpacked, than
    the free space of the disk.

    Args:
        target_of: the path of the file that a member's path is written to; None leaves the member out.
        folder: a folder on the disk that the files go to.
        on_file: is called with the path of each file once it is unpacked, which is before it has its name.
        name: what messages call the archive (the address that it came from, say); its path if None.
        accept: is called once all has been read and is whole, and may raise InputError to refuse it still.

    Raises:
        DamagedArchive: where it is none of these archives, is refused or damaged.
        InputError: where the archive cannot be read, or files cannot be written.
    """
    title = name or str(archive)
    with ExitStack() as unfinished:
        files: list[WholeFile] = []
        seen: dict[str, str] = {}
        is_empty = True
        for member in _members(archive, title):
            is_empty = False
            target = target_of(PurePosixPath(member.name.replace("\\", "/")))
            if target is None:
                _copy(member, None, title)
                continue
            # Names that differ by case alone are one file on some systems.
            key = str(target).casefold()
            if key in seen:
                raise DamagedArchive(f"{title}: has {seen[key]!r} and {member.name!r}, expected one for {target}")
            seen[key] = member.name
            _check_room(title, member.size, folder)
            files.append(_unpacked(member, target, title, unfinished))
            on_file(target)
        if is_empty:
            raise DamagedArchive(f"{title}: has no files in it, {_EXPECTED}")
        accept()
        for file in files:
            try:
                file.commit()
            except OSError as error:
                raise cannot_be_written(file.path, error) from None


def _unpacked(member: _Member, target: Path, title: str, unfinished: ExitStack) -> WholeFile:
    """A member's file, which has not got its name yet, and which ``unfinished`` discards if it never does."""
    try:
        file = WholeFile(target)
        unfinished.callback(file.discard)
        with file.temporary.open("wb") as copy:
            _copy(member, copy, title)
    except OSError as error:
        raise cannot_be_written(target, error) from None
    return file


def _copy(member: _Member, target: IO[bytes] | None, title: str) -> None:
    """Reads a member to its end, into ``target`` if there is one."""
    n_bytes = 0
    while True:
        with _reading(title):
            content = member.file.read(_CHUNK)
        if not content:
            break
        n_bytes += len(content)
        if target is not None:
            target.write(content)
    if n_bytes != member.size:
        raise _damaged(title, f"{member.name!r} has {n_bytes} bytes of {member.size}")


def _members(path: Path, title: str) -> Iterator[_Member]:
    """The files in an archive, in its order; at their end the archive has been read to its own.

    Raises:
        DamagedArchive: as of :func:`unpack`.
        InputError: where the archive cannot be read.
    """
    with _reading(title), path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(8)
        file.seek(0)
        if not start:
            raise DamagedArchive(f"{title}: is empty, {_EXPECTED}")
        limit = _MAX_GROWTH * size + _MAX_SMALL
        if start.startswith(_ZIP_STARTS):
            yield from _zip_members(file, size, title, limit)
            return
        make = None
        if not _begins_as_tar(path):  # whose first bytes are a name, which could be anything
            make = next((make for magic, make in _DECOMPRESSORS.items() if start.startswith(magic)), None)
            if make is None:
                raise DamagedArchive(f"{title}: is {_other_kind(path, start)}, {_EXPECTED}")
        yield from _tar_members(_Stream(file, make, limit, title), title)


def _other_kind(path: Path, start: bytes) -> str:
    """In words, what a file is that is none of the archives."""
    if is_web_page(path):
        return "a web page"
    names = (name for magic, name in _OTHER_FORMATS.items() if start.startswith(magic))
    return next(names, "something else, or damaged at its start")


_EXPECTED = "expected a ZIP or TAR archive that is whole"


def _damaged(title: str, reason: str) -> DamagedArchive:
    return DamagedArchive(f"{title}: is damaged ({reason}), {_EXPECTED}")


@contextmanager
def _reading(title: str) -> Iterator[None]:
    """Makes one sentence of whatever reading an archive leads to."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        # Without a number it is of a decompressor; a place outside the file is one that damaged data named.
        if error.errno in (None, errno.EINVAL):
            raise _damaged(title, reason_of(error)) from None
        raise InputError(f"{title}: cannot be read ({error.strerror}), {_EXPECTED}") from None
    except ImportError:
        raise InputError(
            f"{title}: is compressed by Zstandard, expected another archive, or Python 3.14 or later"
        ) from None
    except NotImplementedError as error:
        raise DamagedArchive(f"{title}: cannot be unpacked ({reason_of(error)}), {_EXPECTED}") from None
    except MemoryError:
        raise
    except Exception as error:  # the libraries raise whatever the damage leads to
        raise _damaged(title, reason_of(error)) from None


# -- ZIP ---------------------------------------------------------------------------------------------------------------


def _zip_members(file: IO[bytes], size: int, title: str, limit: int) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.flag_bits & _ENCRYPTED for entry in entries):
            raise DamagedArchive(f"{title}: asks for a password, {_EXPECTED}, without one")
        _check_extent(title, len(entries), sum(entry.file_size for entry in entries), limit)
        for entry in entries:
            # The upper half of the attributes is the Unix mode where a Unix made the archive, else 0.
            mode = entry.external_attr >> 16
            kind = stat.S_IFMT(mode)
            _check_member(title, entry.filename, not kind or stat.S_ISREG(mode) or stat.S_ISDIR(mode))
        _check_zip_layout(file, size, archive, title)
        for entry in entries:
            if not entry.filename.endswith(("/", "\\")):
                with archive.open(entry) as content:
                    yield _Member(entry.filename, entry.file_size, content)


def _check_zip_layout(file: IO[bytes], size: int, archive: zipfile.ZipFile, title: str) -> None:
    """Refuses what zipfile passes over: bytes before and after, a directory of another length, members that overlap."""
    end = size - _ZIP_END_LENGTH - len(archive.comment)
    file.seek(max(end, 0))
    record = file.read(_ZIP_END_LENGTH)
    if not record.startswith(_ZIP_END):
        raise _damaged(title, "something follows its end")
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    n_entries = int.from_bytes(record[10:12], "little")
    if n_entries not in (len(entries), 0xFFFF):  # the latter is of archives with more
        raise _damaged(title, f"it lists {len(entries)} members of {n_entries}")
    last = 0
    for number, entry in enumerate(entries):
        if entry.header_offset < last:
            raise _damaged(title, f"{entry.filename!r} overlaps another member")
        if not number and entry.header_offset > len(_ZIP_END):  # a marker of so many bytes may come first
            raise _damaged(title, "something comes before its first member")
        last = entry.header_offset + entry.compress_size


# -- TAR ---------------------------------------------------------------------------------------------------------------


def _begins_as_tar(path: Path) -> bool:
    try:
        tarfile.open(path, "r:").close()
    except tarfile.TarError:
        return False
    return True


def _tar_members(stream: "_Stream", title: str) -> Iterator[_Member]:
    end = 0
    # As of a pipe: each byte is read once, in order, so that the stream's checksum is seen in passing.
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
        n_members = 0
        while (member := archive.next()) is not None:
            n_members += 1
            _check_extent(title, n_members, end + member.size, stream.limit)
            _check_member(title, member.name, member.isreg() or member.isdir())
            end = archive.offset  # of the next header
            if (content := archive.extractfile(member)) is not None:
                yield _Member(member.name, member.size, content)
    while stream.read(_CHUNK):
        pass
    # tarfile takes a header that is damaged, or missing, for the end.
    if stream.last_nonzero > end:
        raise _damaged(title, "something follows its end, or a member's header is wrong")
    if stream.n_bytes < end + tarfile.BLOCKSIZE:
        raise _damaged(title, "its end is missing")


class _Stream:
    """Reads what a file holds, decompressed, and notes what tarfile does not look at.

    Args:
        make: makes the decompressor of a stream; None reads the file as it is.
        limit: bytes that may be read, decompressed.
    """

    def __init__(self, file: IO[bytes], make: Callable[[], _Decompressor] | None, limit: int, title: str) -> None:
        #: The number of bytes that have been read, and the number up to the last that is not zero.
        self.n_bytes = self.last_nonzero = 0
        self.limit = limit
        self._file = file
        self._make = make
        self._decompressor = make() if make else None
        self._title = title

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        pieces, n_missing = [], size
        while n_missing and (piece := self._next(n_missing)):
            pieces.append(piece)
            n_missing -= len(piece)
        content = b"".join(pieces)
        used = content.rstrip(b"\0")
        if used:
            self.last_nonzero = self.n_bytes + len(used)
        self.n_bytes += len(content)
        _check_extent(self._title, 0, self.n_bytes, self.limit)
        return content

    def _next(self, max_length: int) -> bytes:
        """Some more bytes, at most ``max_length``; none at the end.

        Streams may follow one another, and zeros may follow them; bz2 and lzma would pass over anything that does.
        """
        if self._decompressor is None or self._make is None:
            return self._file.read(max_length)
        data = b""
        while True:
            if self._decompressor.eof:
                data = self._decompressor.unused_data.lstrip(b"\0")
                while not data:
                    more = self._file.read(_CHUNK)
                    if not more:
                        return b""
                    data = more.lstrip(b"\0")
                self._decompressor = self._make()
            elif self._decompressor.needs_input:
                data = self._file.read(_CHUNK)
            content = self._decompressor.decompress(data, max_length)
            if content:
                return content
            if not data and not self._decompressor.eof:
                raise EOFError("it is cut off")
            data = b""


class _GzipDecompressor:
    """zlib's decompressor of a gzip stream, which checks its CRC and length, with the interface of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def _zstd_decompressor() -> _Decompressor:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]

    return cast(_Decompressor, zstd.ZstdDecompressor())


#: Decompressors of the formats of compressed TAR archives, by the bytes that these begin with.
_DECOMPRESSORS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": _GzipDecompressor,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_XZ_MEMORY),
    b"\x5d\0\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, _MAX_XZ_MEMORY),
    b"\x28\xb5\x2f\xfd": _zstd_decompressor,
}
_OTHER_FORMATS = {b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!": "a RAR archive"}


# -- What no archive has -----------------------------------------------------------------------------------------------


def _check_member(title: str, name: str, plain: bool) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    drive = len(name) > 1 and name[1] == ":"
    if name.startswith(("/", "\\")) or drive or ".." in parts:
        raise DamagedArchive(f"{title}: has a member {name!r} that leaves its folder, expected paths within it")
    if not plain:
        raise DamagedArchive(f"{title}: has a member {name!r} that is a link or a device, expected files alone")


def _check_extent(title: str, n_members: int, n_bytes: int, limit: int) -> None:
    if n_members > _MAX_MEMBERS:
        raise DamagedArchive(f"{title}: has more than {_MAX_MEMBERS} members, expected an archive of a data set")
    if n_bytes > limit:
        raise DamagedArchive(
            f"{title}: unpacks to more than {limit / 1e6:.0f} MB, expected no more than {_MAX_GROWTH} times its size"
        )


def _check_room(title: str, n_bytes: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise InputError(
            f"{title}: has {n_bytes / 1e9:.1f} GB to unpack, expected no more than the {free / 1e9:.1f} GB that are "
            f"free at {folder}"
        )
