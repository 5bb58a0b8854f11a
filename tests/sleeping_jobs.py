"""A job that processes of their own can import."""

import time
from collections.abc import Callable


def sleep(seconds: float, on_bytes: Callable[[int], None]) -> None:
    time.sleep(seconds)
