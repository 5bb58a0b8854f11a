"""The one exception for what a user can get wrong, and words for those of others."""

import os
import sys


class InputError(ValueError):
    """Bad input: a file, a flag or a configuration that cannot be used as it is.

    The message is one sentence for the user: it names the file (and line, frame or key) and says what was
    expected. The scripts print it on stderr and exit with status 2.
    """


class NotFiniteError(InputError):
    """A network gave nothing that is finite."""


def program_name() -> str:
    """The name that this program's messages begin with."""
    path, name = os.path.split(sys.argv[0])
    return os.path.basename(path) if name == "__main__.py" else name  # as ``python -m`` has it


def reason_of(error: Exception) -> str:
    """The first line of another library's error, for a part of a sentence, or the error's kind where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".:")


def sentence_of(error: BaseException) -> str | None:
    """What a user is told of an error that is not the program's own fault; None of any other one."""
    full = "memory is full, expected a smaller batch to fit"
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return full
    if isinstance(error, OSError) and (error.filename is not None or error.errno is not None):
        return f"{error.filename or 'a file'}: {error.strerror}, expected to read or write it"
    # By its name, since PyTorch need not have been imported.
    if isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    ):
        return full
    return None
