"""The command ``ldeq-video``, and ``python -m ldeq``."""

from ldeq.interrupts import end_at_once_until_run
from ldeq.torchrun import end_with_torchrun


def command() -> None:
    """Runs :func:`ldeq.predict.main` on the command line."""
    end_at_once_until_run()
    end_with_torchrun()  # before the imports that take seconds: after its end nothing says whose process this was
    from ldeq.command_line import run
    from ldeq.predict import main

    run(main)


if __name__ == "__main__":
    command()
