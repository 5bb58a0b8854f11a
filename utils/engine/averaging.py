"""An exponential average of the weights over training, which is what is validated and published."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """The average of ``model``'s weights and buffers; ``.module`` is the averaged network.

    The first ``update_parameters(model)`` makes it the network as it is then, and the one after update t moves it by
    1 − min(``decay``, (1 + t) / (10 + t)): early weights are forgotten soon.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], currents: Sequence[Tensor], n_averaged: Tensor | int) -> None:
        t = int(n_averaged)
        weight = 1 - min(decay, (1 + t) / (10 + t))
        for average, current in zip(averages, currents, strict=True):
            if torch.is_floating_point(average):
                average.lerp_(current.to(average.dtype), weight)
            else:
                average.copy_(current)  # BatchNorm's count

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    average.eval().requires_grad_(False)
    return average
