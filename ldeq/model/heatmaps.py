"""Heatmaps: their normalisation, and the keypoints and uncertainties that are read from them."""

from typing import NamedTuple

import torch
from torch import Tensor

from ldeq.model.layout import layout_of

#: Added to a heatmap's sum before it divides, as in the published system.
SUM_EPS = 1e-4
#: Added to a heatmap's range before it divides in the linear normalisation, as in the published system.
RANGE_EPS = 1e-5


class Keypoints(NamedTuple):
    """Landmarks of a batch of crops."""

    #: (B, K, 2), order (x, y), in [0, 1): times the crop's side they are its pixels, without a half-pixel shift.
    position: Tensor
    #: (B, K), standard deviation of the heatmap as a distribution, as a fraction of the crop's side.
    uncertainty: Tensor


def softargmax(heatmaps: Tensor, sharpness: float) -> Tensor:
    """exp(β·(h − max h)) per channel: (B, C, H, W) → (B, C, H, W) in (0, 1], with β = ``sharpness``."""
    return (heatmaps - heatmaps.amax(dim=(2, 3), keepdim=True)).mul_(sharpness).exp_()


def linear(heatmaps: Tensor) -> Tensor:
    """(h − min h) / (max h − min h + 1e-5) per channel: (B, C, H, W) → (B, C, H, W) in [0, 1)."""
    low = heatmaps.amin(dim=(2, 3), keepdim=True)
    high = heatmaps.amax(dim=(2, 3), keepdim=True)
    return (heatmaps - low) / (high - low + RANGE_EPS)


def read_keypoints(heatmaps: Tensor) -> Keypoints:
    """Expected position and spread of each normalised heatmap.

    With p = h / (1e-4 + Σ h): x = Σ p·column / W, y = Σ p·row / H, columns and rows counted from 0; the uncertainty
    is sqrt((var_x + var_y) / 2), the variances taken in heatmap pixels and the result divided by the side.
    (The published code subtracts a mean in [0, 1] from a grid in pixels; this is what it meant.)

    Args:
        heatmaps: (B, K, H, W), at least 0, H = W.
    """
    side = heatmaps.shape[-1]
    grid = torch.arange(side, device=heatmaps.device, dtype=heatmaps.dtype)
    if layout_of(heatmaps) == torch.channels_last:
        # The same sums in the order of memory, which are several times as fast.
        along_x, along_y = (heatmaps.permute(0, 2, 3, 1).sum(dim=dim).transpose(1, 2) for dim in (1, 2))
    else:
        along_x, along_y = heatmaps.sum(dim=2), heatmaps.sum(dim=3)
    total = (SUM_EPS + heatmaps.sum(dim=(2, 3)))[..., None]
    along_x, along_y = along_x / total, along_y / total
    # Sums of products and not matrix products, which autocast would take in half precision.
    mean_x, mean_y = (along_x * grid).sum(dim=-1), (along_y * grid).sum(dim=-1)
    variance_x = (along_x * (grid - mean_x[..., None]) ** 2).sum(dim=-1)
    variance_y = (along_y * (grid - mean_y[..., None]) ** 2).sum(dim=-1)
    position = torch.stack([mean_x, mean_y], dim=-1) / side
    return Keypoints(position, ((variance_x + variance_y) / 2).sqrt() / side)
