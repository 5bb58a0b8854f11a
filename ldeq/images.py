"""Pictures as the network takes them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import functional

#: ImageNet's, in RGB order, for values in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """RGB pictures, each (H, W, 3) uint8 → (B, 3, H, W) float32, normalised, on ``device``.

    The bytes travel to the device and are scaled there.
    """
    batch = (
        torch.from_numpy(pictures if isinstance(pictures, np.ndarray) else np.stack(pictures))
        .to(device)
        .permute(0, 3, 1, 2)
    )
    images: Tensor = functional.normalize(batch.to(torch.float32).div(255), list(MEAN), list(STD))
    return images


def denormalise(images: Tensor) -> NDArray[np.uint8]:
    """The inverse of :func:`normalise`: (B, 3, H, W) → (B, H, W, 3) uint8 RGB."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    levels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    pictures: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).cpu().numpy()
    return pictures
