"""The network's parts: convolution block, stem, hourglass and the cell f(z, x) whose equilibrium is the output.

Attribute names are the published state dict's, among them ``bottlneck``, so that its weights load unchanged.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldeq.config import ModelConfig
from ldeq.model import heatmaps

NEGATIVE_SLOPE = 0.01

MakeNorm = Callable[[int], nn.BatchNorm2d | nn.GroupNorm]


class Block(nn.Module):
    """Convolution → LeakyReLU(0.01) → norm, in this order: (B, n_in, H, W) → (B, n_out, H/stride, W/stride).

    Convolution and norm each run in the type of their own weights.
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: int, make_norm: MakeNorm, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel_size, stride=stride, padding=(kernel_size - 1) // 2)
        self.norm = make_norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.conv(x.to(self.conv.weight.dtype)))

    def activate(self, x: Tensor) -> Tensor:
        """The activation and the norm that follow the convolution."""
        out: Tensor = self.norm(F.leaky_relu(x, NEGATIVE_SLOPE).to(self.norm.weight.dtype))
        return out


def make_stem(injection_width: int) -> nn.Sequential:
    """Images (B, 3, 4·S, 4·S) → injection x (B, I, S, S)."""
    quarter, half = injection_width // 4, injection_width // 2
    return nn.Sequential(
        Block(3, quarter, 7, nn.BatchNorm2d, stride=2),
        Block(quarter, half, 3, nn.BatchNorm2d),
        nn.MaxPool2d(2),
        Block(half, injection_width, 3, nn.BatchNorm2d),
    )


class Hourglass(nn.Module):
    """Four levels down and up again with a skip at each: (B, W, S, S) → (B, W, S, S).

    Args:
        widths: channels of each level, finest first, five in all (the last is the bottleneck's).
        make_norm: the norm of a block, from its channels.
    """

    def __init__(self, widths: tuple[int, ...], make_norm: MakeNorm) -> None:
        super().__init__()
        w0, w1, w2, w3, w4 = widths

        def block(n_in: int, n_out: int, kernel_size: int) -> Block:
            return Block(n_in, n_out, kernel_size, make_norm)

        self.same1, self.upchan1 = block(w0, w0, 3), block(w0, w1, 3)
        self.same2, self.upchan2 = block(w1, w1, 3), block(w1, w2, 3)
        self.same3, self.upchan3 = block(w2, w2, 3), block(w2, w3, 3)
        self.same4, self.upchan4 = block(w3, w3, 3), block(w3, w4, 3)
        self.bottlneck = block(w4, w4, 3)
        self.downchan1, self.downchan2, self.same5 = block(w4, w3, 3), block(2 * w3, w3, 1), block(w3, w3, 5)
        self.downchan3, self.downchan4, self.same6 = block(w3, w2, 3), block(2 * w2, w2, 1), block(w2, w2, 5)
        self.downchan5, self.downchan6, self.same7 = block(w2, w1, 3), block(2 * w1, w1, 1), block(w1, w1, 5)
        self.downchan7, self.downchan8, self.same8 = block(w1, w0, 3), block(2 * w0, w0, 1), block(w0, w0, 5)

    def forward(self, x: Tensor) -> Tensor:
        down = [
            (self.same1, self.upchan1),
            (self.same2, self.upchan2),
            (self.same3, self.upchan3),
            (self.same4, self.upchan4),
        ]
        up = [
            (self.downchan1, self.downchan2, self.same5),
            (self.downchan3, self.downchan4, self.same6),
            (self.downchan5, self.downchan6, self.same7),
            (self.downchan7, self.downchan8, self.same8),
        ]
        skips = []
        for same, widen in down:
            skip = same(x)
            skips.append(skip)
            x = widen(F.avg_pool2d(skip, 2))
        x = self.bottlneck(x)
        for narrow, merge, same in up:
            raised = F.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            merged = merge(torch.cat([skips.pop(), raised], dim=1))
            x = same(merged) + merged
        return x


class Head(nn.Module):
    """1×1 convolution from the hourglass to the heatmaps; a module of its own for its key in the state dict."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x.to(self.conv.weight.dtype))
        return out


class Cell(nn.Module):
    """f(z, x): refines the heatmaps z given the injection x (paper, section 3.2).

    The first 1×1 convolution is linear in the concatenation [z, x], so its x half is the same at every iteration:
    :meth:`inject` computes it once per image and :meth:`step` uses it. ``forward`` does both.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

        def make_norm(channels: int) -> nn.BatchNorm2d | nn.GroupNorm:
            if config.uses_batch_norm_in_cell:
                return nn.BatchNorm2d(channels)
            return nn.GroupNorm(config.cell_gn_groups, channels)

        width = config.cell_base_width
        self.z_width = config.z_width
        self.normalisation = config.cell_norm
        beta = config.cell_softargmax_beta
        self.sharpness = _softplus(beta) if config.cell_learn_softargmax_beta else beta
        self.tail = Block(config.z_width + config.injection_width, width, 1, make_norm)
        self.hourglass = Hourglass(config.hourglass_widths, make_norm)
        self.head = Head(width, config.z_width)

    def forward(self, z: Tensor, injection: Tensor) -> Tensor:
        """(B, z_width, S, S), (B, I, S, S) → (B, z_width, S, S)."""
        return self.step(z, self.inject(injection))

    def inject(self, injection: Tensor) -> Tensor:
        """The injection's share of the first convolution, bias included: (B, I, S, S) → (B, W, S, S)."""
        weight = self.tail.conv.weight
        return F.conv2d(injection.to(weight.dtype), weight[:, self.z_width :], self.tail.conv.bias)

    def step(self, z: Tensor, injected: Tensor) -> Tensor:
        """f(z, x) with the injection's share from :meth:`inject`: (B, z_width, S, S) → the same, in z's dtype."""
        weight = self.tail.conv.weight
        mixed = F.conv2d(z.to(weight.dtype), weight[:, : self.z_width]) + injected
        heads = self.head(self.hourglass(self.tail.activate(mixed)))
        # Under autocast the convolutions give 8 or 11 bits; positions are read from sums over 4,096 values of the
        # exponential, so it and the equilibrium stay in z's precision.
        return self._normalise(heads.to(z.dtype))

    def _normalise(self, heads: Tensor) -> Tensor:
        if self.normalisation == "softargmax":
            return heatmaps.softargmax(heads, self.sharpness)
        if self.normalisation == "linear":
            return heatmaps.linear(heads)
        return heads


def _softplus(x: float) -> float:
    """log(1 + exp x), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
