"""Fixed-point iteration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ldeq.solvers.base import Function, Iterate

EPS = 1e-5
#: Numbers whose difference fits into a processor's second cache.
_PIECE = 65_536


@dataclass
class FixedPointState:
    """The last iterate."""

    z: Tensor  # (B, D)


class FixedPointIteration:
    """z_new = f(z), with errors ‖z_new − z‖ and ‖z_new − z‖ / (1e-5 + ‖z_new‖); the solution is the last z_new."""

    keeps_best: ClassVar[bool] = False
    init_evaluations: ClassVar[int] = 0
    divergence_ratio: ClassVar[Mapping[str, float] | None] = None

    def init(self, f: Function, z0: Tensor) -> FixedPointState:
        return FixedPointState(z0)

    def step(self, f: Function, state: FixedPointState) -> Iterate:
        z = f(state.z)
        abs_error = _distance(z, state.z)
        rel_error = abs_error / (EPS + torch.linalg.vector_norm(z, dim=1))
        state.z = z
        return Iterate(z, abs_error, rel_error, torch.zeros_like(abs_error, dtype=torch.bool))


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖ of each sample, (B, D) twice → (B,)."""
    # On the CPU piece by piece: the difference stays in its cache, and no memory has to be asked for.
    piece = _PIECE if a.device.type == "cpu" else a.shape[1]
    parts = zip(torch.split(a, piece, dim=1), torch.split(b, piece, dim=1), strict=True)
    norms = torch.stack([torch.linalg.vector_norm(x - y, dim=1) for x, y in parts])
    distance: Tensor = torch.linalg.vector_norm(norms, dim=0)
    return distance
