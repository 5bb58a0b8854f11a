"""Images as the network takes them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldeq.transfer import to_device

#: ImageNet's, in RGB order, for values in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], device: torch.device | str = "cpu") -> Tensor:
    """RGB images (B, H, W, 3) uint8 → (B, 3, H, W) float32, normalised, on ``device``.

    The bytes travel to the device and are scaled there.
    """
    levels = to_device(torch.from_numpy(np.ascontiguousarray(images)), device)
    n, height, width, _ = levels.shape
    # By rows of the image: three numbers at a time are too few for the processor's vectors.
    rows = levels.view(n * height, width * 3).to(torch.float32)
    mean, std = (_constants(values, levels.device).repeat(width) for values in (MEAN, STD))
    return rows.div_(255).sub_(mean).div_(std).view(n, height, width, 3).permute(0, 3, 1, 2)


def _constants(values: Sequence[float], device: torch.device) -> Tensor:
    """(3,), made on the device, which the host need not wait for as for a transfer."""
    return torch.cat([torch.full((1,), value, device=device) for value in values])
