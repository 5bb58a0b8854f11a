"""Fixed-point iteration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ldeq.solvers.base import Function, Iterate

EPS = 1e-5


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
        abs_error = torch.linalg.vector_norm(z - state.z, dim=1)
        rel_error = abs_error / (EPS + torch.linalg.vector_norm(z, dim=1))
        state.z = z
        return Iterate(z, abs_error, rel_error, torch.zeros_like(abs_error, dtype=torch.bool))
