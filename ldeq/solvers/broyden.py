"""Broyden's method ("good" update, no line search; Broyden 1965; for DEQs, Bai et al. 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ldeq.solvers.base import Function, Iterate

EPS = 1e-5
_INITIAL_CAPACITY = 8


@dataclass
class BroydenState:
    """The inverse Jacobian of g(z) = f(z) − z is −I + U Vᵀ, its rank one greater with each step."""

    z: Tensor  # (B, D)
    g: Tensor  # (B, D)
    u: Tensor  # U, by rows: (B, capacity, D), of which ``rank`` are in use
    v: Tensor  # V, by rows
    step: Tensor  # Δz (B, D) and change Δg (B, D) of the last step, not yet in U Vᵀ
    change: Tensor
    rank: int
    moved: bool  # whether ``step`` and ``change`` hold a pair


class Broyden:
    """Quasi-Newton steps Δz = −J⁻¹ g on g(z) = f(z) − z, J⁻¹ starting at −I.

    Update (Sherman–Morrison form): vᵀ = Δzᵀ J⁻¹, u = (Δz − J⁻¹ Δg) / (vᵀ Δg), J⁻¹ ← J⁻¹ + u vᵀ. Errors are ‖g‖ and
    ‖g‖ / (1e-5 + ‖g + z‖); the solution is the z of lowest error, z0 not among them.

    An update that is not finite (vᵀ Δg = 0) is left out for that sample, and a step that is not finite is replaced by
    the plain one, z ← f(z).
    """

    keeps_best: ClassVar[bool] = True
    init_evaluations: ClassVar[int] = 1
    divergence_ratio: ClassVar[Mapping[str, float] | None] = {"rel": 1e3, "abs": 1e6}

    def init(self, f: Function, z0: Tensor) -> BroydenState:
        g = f(z0) - z0
        empty = z0.new_empty(z0.shape[0], _INITIAL_CAPACITY, z0.shape[1])
        return BroydenState(z0, g, empty, torch.empty_like(empty), z0, g, rank=0, moved=False)

    def step(self, f: Function, state: BroydenState) -> Iterate:
        fell_back = torch.zeros(state.z.shape[0], dtype=torch.bool, device=state.z.device)
        if state.moved:
            fell_back |= ~_update_inverse(state)
        step = -_apply(state.u, state.v, state.g, state.rank)
        usable = torch.isfinite(torch.linalg.vector_norm(step, dim=1))
        step = torch.where(usable[:, None], step, state.g)
        z = state.z + step
        g = f(z) - z
        state.z, state.step, state.change, state.g, state.moved = z, step, g - state.g, g, True
        abs_error = torch.linalg.vector_norm(g, dim=1)
        rel_error = abs_error / (EPS + torch.linalg.vector_norm(g + z, dim=1))
        return Iterate(z, abs_error, rel_error, fell_back | ~usable)


def _apply(u: Tensor, v: Tensor, x: Tensor, rank: int) -> Tensor:
    """(−I + U Vᵀ) x: (B, D) → (B, D). With u and v exchanged, xᵀ (−I + U Vᵀ)."""
    if rank == 0:
        return -x
    coefficients = torch.bmm(v[:, :rank], x[:, :, None])
    return torch.bmm(coefficients.transpose(1, 2), u[:, :rank])[:, 0] - x


def _update_inverse(state: BroydenState) -> Tensor:
    """Takes the last step's pair (Δz, Δg) into U Vᵀ, and says for which samples (B,) it could."""
    v = _apply(state.v, state.u, state.step, state.rank)
    u = state.step - _apply(state.u, state.v, state.change, state.rank)
    u = u / (v * state.change).sum(dim=1, keepdim=True)
    usable = torch.isfinite(torch.linalg.vector_norm(u, dim=1) + torch.linalg.vector_norm(v, dim=1))
    if state.rank == state.u.shape[1]:
        state.u = torch.cat([state.u, torch.empty_like(state.u)], dim=1)
        state.v = torch.cat([state.v, torch.empty_like(state.v)], dim=1)
    state.u[:, state.rank] = torch.where(usable[:, None], u, 0)
    state.v[:, state.rank] = torch.where(usable[:, None], v, 0)
    state.rank += 1
    return usable
