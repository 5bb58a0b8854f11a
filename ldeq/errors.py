"""The one exception for what a user can get wrong, and words for those of others."""


class InputError(ValueError):
    """Bad input: a file, a flag or a configuration that cannot be used as it is.

    The message is one sentence for the user: it names the file (and line, frame or key) and says what was
    expected. The scripts print it on stderr and exit with status 2.
    """


class NotFiniteError(InputError):
    """A network gave nothing that is finite."""


def reason_of(error: Exception) -> str:
    """The first line of another library's error, for a part of a sentence, or the error's kind where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".:")
