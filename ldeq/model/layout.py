"""The order of a tensor's numbers in memory."""

import torch
from torch import Tensor


def layout_of(x: Tensor) -> torch.memory_format:
    """The memory format of (B, C, H, W)."""
    is_channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if is_channels_last else torch.contiguous_format
