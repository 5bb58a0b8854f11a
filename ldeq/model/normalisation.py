"""Images as the network takes them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: ImageNet's, in RGB order, for values in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], device: torch.device | str = "cpu") -> Tensor:
    """RGB images (B, H, W, 3) uint8 → (B, 3, H, W) float32, normalised, on ``device``.

    The bytes travel to the device and are scaled there.
    """
    levels = torch.from_numpy(np.ascontiguousarray(images)).to(device, non_blocking=True).permute(0, 3, 1, 2)
    mean, std = _mean_and_std(levels.device)
    return levels.to(torch.float32).div(255).sub_(mean).div_(std)


def denormalise(images: Tensor) -> NDArray[np.uint8]:
    """The inverse of :func:`normalise`: (B, 3, H, W) → (B, H, W, 3) uint8 RGB."""
    mean, std = _mean_and_std(images.device)
    levels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    restored: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).cpu().numpy()
    return restored


def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return mean, std
