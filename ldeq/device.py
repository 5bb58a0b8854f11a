"""Where and in what precision the network runs."""

import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from ldeq import torchrun
from ldeq.config import PRECISIONS
from ldeq.errors import InputError
from ldeq.landmarks98 import CROP_SIZE, N_LANDMARKS
from ldeq.model.checkpoint import load_checkpoint
from ldeq.model.network import LDEQ
from ldeq.pretrained import resolve

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
    found = (model.config.n_keypoints, model.config.im_size)
    if found != (N_LANDMARKS, CROP_SIZE):
        was = f"{found[0]} keypoints on crops of {found[1]} pixels"
        raise InputError(f"{path}: is a network for {was}, expected {N_LANDMARKS} on {CROP_SIZE} as the data has")
    return prepare(model, device, precision), path


def prepare(model: LDEQ, device: torch.device, precision: str) -> LDEQ:
    """Moves a model to its device, in the memory format that is faster there.

    On the CPU (``benchmarks/layout.py``) the stem runs channels-last. So does the cell in half precision; in float32 it
    gains nothing by it, and contiguous it rounds alike in every batch. float32 means float32: the 19-bit products that
    some GPUs take in its place by default are switched off, since figures are to be comparable.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    model = model.to(device)
    if device.type == "cpu":
        part: torch.nn.Module = model.tail if precision == "fp32" else model
        part.to(memory_format=torch.channels_last)
    return model


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which the network runs at a precision of :data:`ldeq.config.PRECISIONS`.

    The equilibrium and the heatmaps stay in float32; what changes is the convolutions.
    """
    dtype = _DTYPES[precision]
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def slow_precision_note(device: torch.device, precision: str) -> str | None:
    """A warning where the precision is emulated, and so slower than float32."""
    if device.type != "cpu" or precision == "fp32":
        return None
    native = {"bf16": ("avx512_bf16", "amx_bf16", "bf16"), "fp16": ("avx512_fp16", "amx_fp16", "fphp")}[precision]
    if any(flag in _cpu_flags() for flag in native):
        return None
    return f"Precision {precision} is emulated on this CPU, which has no {precision} arithmetic: fp32 is faster here"


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
    except OSError:
        return set()
