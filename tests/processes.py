"""Processes that tests start and watch."""

import time
from collections.abc import Callable

import psutil


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Returns once the condition holds, and fails after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_alive(process: int | str) -> bool:
    """True where a process runs: one that has ended may wait for a parent that asks for its status."""
    try:
        return psutil.Process(int(process)).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def children_of(process: int) -> list[int]:
    """The processes that a process has started."""
    return [child.pid for child in psutil.Process(process).children()]
