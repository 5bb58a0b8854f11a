"""What ``torchrun`` tells the processes that it starts, by their environment; a process alone is told nothing."""

import os
from pathlib import Path

from ldeq.errors import InputError
from ldeq.orphans import end_with_parent


def was_started() -> bool:
    """True in a process that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def number_of_processes() -> int:
    """The number of processes of the run, on all machines.

    Raises:
        InputError: where the environment says that there are others, and not which.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return 1
    words = {name: os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK", "MASTER_PORT")}
    wrong = [f"{name} is {word!r}" for name, word in words.items() if not (word.isdecimal() and int(word) < 2**16)]
    if not os.environ.get("MASTER_ADDR"):
        wrong.append("MASTER_ADDR is not set")
    if wrong:
        set_to = f"WORLD_SIZE = {words['WORLD_SIZE']}"
        raise InputError(f"{set_to} but {wrong[0]}, expected an environment as torchrun makes it, or no WORLD_SIZE")
    return int(words["WORLD_SIZE"])


def rank() -> int:
    """The number of this process among those of the run, from 0."""
    return _number("RANK", 0)


def is_main() -> bool:
    """True in a process that is alone, and in the first of several: the one that writes and speaks."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or rank() == 0


def number_on_this_machine() -> int:
    """The number of the run's processes on this machine."""
    return max(1, _number("LOCAL_WORLD_SIZE", _number("WORLD_SIZE", 1)))


def local_rank() -> int:
    """The number of this process among those on its machine, from 0."""
    return _number("LOCAL_RANK", rank())


def has_store() -> bool:
    """True where torchrun keeps the store by which processes meet, and not the main process."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def attempt() -> str:
    """Tells the attempts of a run apart, which torchrun makes where it was given ``--max_restarts`` or a machine more.

    Their number is that of failures alone.
    """
    return f"{_number('TORCHELASTIC_RESTART_COUNT', 0)} of {number_of_processes()}"


def share(n: int) -> int:
    """This process's part of ``n`` threads that a machine is to have, at least one where there are any."""
    return -(-n // number_on_this_machine())


def n_threads() -> int:
    """Threads of this process's network: ``OMP_NUM_THREADS``, or its part of the cores that it may use.

    torchrun sets that to 1 where the user has not set it, so that most cores of a large machine would have nothing to
    do: that does not count.
    """
    word = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if word.isdecimal() and int(word) and not (word == "1" and _is_of_torchrun("OMP_NUM_THREADS")):
        return int(word)
    affinity = getattr(os, "sched_getaffinity", None)  # which not every system has
    n_cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, n_cores // number_on_this_machine())


def end_with_torchrun() -> None:
    """Ends this process as soon as torchrun has ended, which nobody else is there to tell it of."""
    if was_started():
        end_with_parent()


def _is_of_torchrun(name: str) -> bool:
    """True if it is torchrun that has set a variable, and not the user, whose environment torchrun was started with."""
    if not was_started():
        return False
    try:
        environment = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:  # another system than Linux
        return True
    return not any(line.startswith(f"{name}=".encode()) for line in environment.split(b"\0"))


def _number(name: str, default: int) -> int:
    word = os.environ.get(name, "")
    return int(word) if word.isdecimal() else default
