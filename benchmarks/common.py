"""What the benchmarks share."""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from ldeq import LDEQ
from ldeq.command_line import MOST_WORKERS, at_least
from ldeq.device import describe_device
from ldeq.model.step import RecurrentStep

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

#: The size of the published example: 16.5 M parameters, a stem of 4.0 and a cell of 24.8 GFLOP an image.
PUBLISHED_EXAMPLE: dict[str, Any] = {"injection_width": 224, "cell_base_width": 224, "cell_width_increment": 24}

#: Sides of the matrices whose product is the limit. They grow from the first as long as the next product is expected to
#: take no longer than this: a precision that a processor lacks is emulated, and takes forever.
PRODUCT_SIDES = (192, 384, 768, 1536, 3072, 8192)
_SECONDS_OF_A_PRODUCT = 0.5


def seconds_of(work: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """How long ``work`` takes until the device is done with it, and its result."""
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    return time.perf_counter() - started, result


def medians_by_turns(
    works: Mapping[K, Callable[[], object]],
    repeats: int,
    device: torch.device | None = None,
    *,
    before: int = 2,
    most_seconds: float = math.inf,
) -> dict[K, float]:
    """Median seconds of each work. They take turns, so that what else the machine does meets them alike.

    Args:
        device: that is waited for; None: the CPU.
        before: turns that do not count, in which they settle.
        most_seconds: one that has taken so long takes no further turns, once it has counted.
    """
    device = device or torch.device("cpu")
    seconds: dict[K, list[float]] = {name: [] for name in works}
    for turn in range(before + repeats):
        for name, work in works.items():
            if sum(seconds[name]) > most_seconds:
                continue
            taken, _ = seconds_of(work, device)
            if turn >= before:
                seconds[name].append(taken)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def synchronise(device: torch.device) -> None:
    """Waits until an accelerator has done what was asked of it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, which is the limit of a network: the best of some."""
    rate = 0.0
    for side in PRODUCT_SIDES:
        if rate and 2 * side**3 / rate > _SECONDS_OF_A_PRODUCT:
            break
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        seconds = [seconds_of(partial(torch.matmul, a, b), device)[0] for _ in range(4)]
        rate = 2 * side**3 / min(seconds)
    return rate


@torch.no_grad()
def gflop_of_a_step(model: LDEQ) -> float:
    """Of a step of RwR of one face, one iteration and the last step, in 10⁹ operations."""
    side = model.config.im_size
    with FlopCounterMode(display=False) as counter:
        RecurrentStep(model)(torch.zeros(1, side, side, 3, dtype=torch.uint8), torch.zeros(1, *model.z_shape))
    return float(counter.get_total_flops()) / 1e9


def describe_machine(device: torch.device) -> str:
    """One line for the head of a report."""
    return f"{describe_device(device)}, {os.cpu_count()} CPU cores, torch {torch.__version__}"


def add_batch_flags(parser: "argparse._ActionsContainer") -> None:
    """Adds the flags for how images go through the network."""
    parser.add_argument("--batch_size", type=at_least(1, 1024), default=32, metavar="N", help="images at a time")
    parser.add_argument("--workers", type=at_least(0, MOST_WORKERS), default=2, metavar="N", help="decoding threads")
