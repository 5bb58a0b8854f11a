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
