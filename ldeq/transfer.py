"""Tensors between the host and an accelerator, without waiting for it where that can be."""

from collections.abc import Sequence

import torch
from torch import Tensor

#: Devices whose transfers the host need not wait for, if its side of them is page-locked.
_PINNED = ("cuda", "xpu")


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the host on a device. The host goes on at once, and may change ``tensor``, which has been copied."""
    device = torch.device(device)
    if device.type in _PINNED and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type in _PINNED)


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Small tensors (B, …) of an accelerator on the host, all by one transfer, which the host waits for.

    Numbers travel in the type of the first, which has to hold those of all others. Those of the host are as they are.
    """
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return list(tensors)
    columns = [tensor.reshape(len(tensor), -1).to(tensors[0].dtype) for tensor in tensors]
    packed = torch.cat(columns, dim=1).cpu()
    parts = torch.split(packed, [column.shape[1] for column in columns], dim=1)
    return [part.reshape(tensor.shape).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]
