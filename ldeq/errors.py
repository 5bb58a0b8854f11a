"""The one exception for what a user can get wrong."""


class InputError(ValueError):
    """Bad input: a file, a flag or a configuration that cannot be used as it is.

    The message is one sentence for the user: it names the file (and line, frame or key) and says what was
    expected. The scripts print it on stderr and exit with status 2.
    """
