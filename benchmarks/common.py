"""What the benchmarks share."""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from ldeq.command_line import MOST_WORKERS, at_least
from ldeq.device import describe_device

T = TypeVar("T")

#: The size of the published example: 16.5 M parameters, a stem of 4.0 and a cell of 24.8 GFLOP an image.
PUBLISHED_EXAMPLE: dict[str, Any] = {"injection_width": 224, "cell_base_width": 224, "cell_width_increment": 24}


def seconds_of(work: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """How long ``work`` takes until the device is done with it, and its result."""
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    return time.perf_counter() - started, result


def synchronise(device: torch.device) -> None:
    """Waits until an accelerator has done what was asked of it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def describe_machine(device: torch.device) -> str:
    """One line for the head of a report."""
    return f"{describe_device(device)}, {os.cpu_count()} CPU cores, torch {torch.__version__}"


def add_batch_flags(parser: "argparse._ActionsContainer") -> None:
    """Adds the flags for how images go through the network."""
    parser.add_argument("--batch_size", type=at_least(1, 1024), default=32, metavar="N", help="images at a time")
    parser.add_argument("--workers", type=at_least(0, MOST_WORKERS), default=2, metavar="N", help="decoding threads")
