"""Where and in what precision the network runs."""

import platform
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from ldeq import torchrun
from ldeq.config import PRECISIONS
from ldeq.errors import InputError
from ldeq.landmarks98 import refuse_other_networks
from ldeq.model.blocks import cast_convolutions
from ldeq.model.checkpoint import load_checkpoint
from ldeq.model.network import LDEQ
from ldeq.pretrained import resolve

#: For each of the two measurements of :func:`slow_precision_note`.
_SECONDS_TO_MEASURE = 0.05

_DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))


def resolve_device(name: str) -> torch.device:
    """``auto`` (CUDA, else MPS, else CPU) or any name that PyTorch takes.

    Raises:
        InputError: where there is no such device here.
    """
    if name == "auto":
        accelerators = [("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())]
        return torch.device(next((kind for kind, available in accelerators if available), "cpu"))
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError(f"nothing runs on {device.type}")
        torch.empty(1, device=device)
    except Exception:  # each backend has its own way to say that it is not there
        expected = "auto, cpu or an accelerator of this machine"
        raise InputError(f"device {name!r} is not available here, expected {expected}") from None
    return device


def local_device(name: str) -> torch.device:
    """The device of this process, one of those of the run on this machine: its own GPU where ``name`` gives GPUs, which
    becomes the current one.

    Raises:
        InputError: where there are fewer GPUs than processes.
    """
    device, n_local = resolve_device(name), torchrun.number_on_this_machine()
    if device.type != "cuda" or n_local == 1:
        return device
    if device.index is not None or torch.cuda.device_count() < n_local:
        found = f"{torch.cuda.device_count()} GPUs for {n_local} processes"
        raise InputError(f"--device {name}: {found}, expected one for each (--nproc_per_node), or --device cpu")
    device = torch.device("cuda", torchrun.local_rank())
    torch.cuda.set_device(device)
    return device


def describe_device(device: torch.device) -> str:
    """The device's name for a report."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()})" if device.type == "cpu" else str(device)


def load_model(
    weights: str | Path, device: torch.device, precision: str, trust_pickle: bool = False
) -> tuple[LDEQ, Path]:
    """A network for 98 landmarks on crops of 256 pixels, on its device and ready for a precision.

    Args:
        weights: a checkpoint's path, or one of :data:`ldeq.pretrained.NAMES`, which is downloaded if need be.

    Returns:
        The network, and the path of its checkpoint.

    Raises:
        InputError: as :func:`ldeq.load_checkpoint`, and where the network is for other landmarks or crops.
    """
    path = resolve(weights, load_checkpoint)
    model = load_checkpoint(path, trust_pickle=trust_pickle)
    refuse_other_networks(path, model.config)
    return prepare(with_precision(model, precision), device), path


def prepare(model: LDEQ, device: torch.device, contiguous_cell: bool = False) -> LDEQ:
    """Moves a model to its device, in the memory format that is faster there: on the CPU (``benchmarks/layout.py``)
    channels-last.

    Args:
        contiguous_cell: leave the cell contiguous on the CPU. Its norms round alike in every batch then, of which
            training, which lets differences grow, makes more than of speed.

    float32 means float32: the 19-bit products that some GPUs take in its place by default are switched off, since
    figures are to be comparable.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    model = model.to(device)
    if device.type == "cpu":
        part: torch.nn.Module = model.tail if contiguous_cell else model
        part.to(memory_format=torch.channels_last)
    return model


def with_precision(model: LDEQ, precision: str) -> LDEQ:
    """The model with the weights of its convolutions in a precision of :data:`ldeq.config.PRECISIONS`, in place.

    They are cast once, here. Norms, heatmaps and the equilibrium stay in float32. For inference: training has
    :func:`autocast`, as its optimiser changes weights by less than half precisions tell apart.
    """
    cast_convolutions(model, _DTYPES[precision])
    return model


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which a network with float32 weights is trained at a precision of :data:`ldeq.config.PRECISIONS`.

    As of :func:`with_precision`, what changes is the convolutions.
    """
    dtype = _DTYPES[precision]
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def slow_precision_note(device: torch.device, precision: str, training: bool = False) -> str | None:
    """A warning where the precision is slower than float32 on the CPU, by a measurement of some milliseconds.

    What a processor is said to have tells little: with AVX-512 BF16 and without AMX, say, Intel's compute bfloat16 at
    half the speed of float32. And what is fast forward need not be backward.

    Args:
        training: measure the gradients as well.
    """
    if device.type != "cpu" or precision == "fp32":
        return None
    if _seconds_of_convolution(precision, training) < _seconds_of_convolution("fp32", training):
        return None
    what = "convolutions and their gradients" if training else "convolutions"
    return f"Precision {precision} is slower than fp32 on this CPU, which computes its {what} slowly"


def _seconds_of_convolution(precision: str, training: bool) -> float:
    """The least that one of the network's kind takes."""
    x, weight = (
        torch.ones(shape).to(_DTYPES[precision], memory_format=torch.channels_last).requires_grad_(training)
        for shape in ((4, 64, 16, 16), (64, 64, 3, 3))
    )
    seconds: list[float] = []
    while sum(seconds[1:]) < _SECONDS_TO_MEASURE:  # the first makes the code that the others run
        started = time.perf_counter()
        value = torch.nn.functional.conv2d(x, weight, padding=1)
        if training:
            torch.autograd.grad(value, (x, weight), value.detach())
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
