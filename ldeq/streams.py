"""Output whose reader may go away: what a run says may be lost, and the run goes on."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

#: Errors of a reader that has gone, as ``head`` does, or a terminal that was closed.
_READER_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET)


class _LossyFile(io.FileIO):
    """A file to which writing never fails."""

    #: The first error.
    error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            written = super().write(content)
        except OSError as error:
            self.error = self.error or error
            written = None
        return memoryview(content).nbytes if written is None else written


class LossyOutput:
    """stdout and stderr within :func:`lossy_output`."""

    def __init__(self) -> None:
        self.files: dict[str, _LossyFile] = {}

    def failures(self) -> list[str]:
        """What could not be written for another reason than that its reader has gone, in words."""
        sys.stdout.flush()
        return [
            f"{name}: cannot be written ({file.error.strerror}), expected a place with space"
            for name, file in self.files.items()
            if file.error is not None and file.error.errno not in _READER_GONE
        ]


@contextmanager
def lossy_output() -> Iterator[LossyOutput]:
    """Within the block nothing that is written to stdout and stderr raises an error, and both are there.

    Where one is closed from the start, Python has None in its place, and the next file that is opened gets its number:
    a library's messages would be written into results.
    """
    _open_missing_descriptors()
    output = LossyOutput()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        _lossy(output, name, stream) for name, stream in zip(("stdout", "stderr"), before, strict=True)
    )
    try:
        yield output
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError):  # somebody has closed it
                stream.flush()
        sys.stdout, sys.stderr = before


def _open_missing_descriptors() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the one that is given.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _lossy(output: LossyOutput, name: str, stream: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # a notebook's, say
    try:
        stream.flush()
        descriptor = stream.fileno()
    except (OSError, ValueError):  # no file of the system's
        stream.reconfigure(errors="backslashreplace")
        return stream
    file = output.files[name] = _LossyFile(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=stream.encoding,
        errors="backslashreplace",  # for paths that are not the terminal's encoding
        line_buffering=stream.line_buffering or stream.write_through,
    )
