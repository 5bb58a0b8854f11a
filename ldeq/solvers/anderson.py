"""Anderson acceleration (Anderson 1965; Walker & Ni 2011; for DEQs, Bai et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ldeq.solvers.base import Function, Iterate

EPS = 1e-5
#: Types of devices of which some have no float64: Apple's and Intel's.
WITHOUT_FLOAT64 = ("mps", "xpu")


@dataclass
class AndersonState:
    """The last m iterates X by their values F = f(X) and residuals G = F − X; iterate k is in slot k mod m."""

    values: Tensor  # F: (B, m, D)
    residuals: Tensor  # G: (B, m, D)
    gram: Tensor  # G Gᵀ: (B, m, m) float64, where that device has it, else on the CPU
    k: int  # number of iterates so far


@dataclass(frozen=True)
class Anderson:
    """X_k = β·Σ α F + (1 − β)·Σ α X over the last m iterates.

    The weights α minimise ‖Σ α G‖² + λ‖α‖² subject to Σ α = 1, as the solution of the bordered system
    [[0, 1ᵀ], [1, G Gᵀ + λ I]] (·, α) = (1, 0). X_0 = z0, X_1 = f(X_0) are given; the first step makes X_2.
    Errors are ‖F − X‖ and ‖F − X‖ / ‖F + 1e-5‖; the solution is the X of lowest error.

    Where the system is singular or its solution not finite, X_k = F_{k−1}, the plain step, for that sample.
    """

    memory: int
    regularisation: float
    mixing: float
    keeps_best: ClassVar[bool] = True
    init_evaluations: ClassVar[int] = 2
    divergence_ratio: ClassVar[Mapping[str, float] | None] = None

    def init(self, f: Function, z0: Tensor) -> AndersonState:
        n_samples, size = z0.shape
        state = AndersonState(
            values=z0.new_empty(n_samples, self.memory, size),
            residuals=z0.new_empty(n_samples, self.memory, size),
            gram=torch.zeros(n_samples, self.memory, self.memory, dtype=torch.float64, device=_exact_device(z0)),
            k=0,
        )
        first = f(z0)
        _remember(state, z0, first)
        _remember(state, first, f(first))
        return state

    def step(self, f: Function, state: AndersonState) -> Iterate:
        weights, usable = self._weights(state.gram, min(state.k, self.memory))
        weights = weights.to(state.values.dtype).to(state.values.device)[:, None]
        n = weights.shape[2]
        # Σ α X = Σ α F − Σ α G, so X itself need not be kept.
        mixed = torch.bmm(weights, state.values[:, :n])[:, 0]
        if self.mixing != 1:
            mixed = mixed - (1 - self.mixing) * torch.bmm(weights, state.residuals[:, :n])[:, 0]
        usable = usable.to(mixed.device) & torch.isfinite(torch.linalg.vector_norm(mixed, dim=1))
        x = torch.where(usable[:, None], mixed, state.values[:, (state.k - 1) % self.memory])
        value = f(x)
        residual = _remember(state, x, value)
        abs_error = torch.linalg.vector_norm(residual, dim=1)
        rel_error = abs_error / torch.linalg.vector_norm(value + EPS, dim=1)
        return Iterate(x, abs_error, rel_error, ~usable)

    def _weights(self, gram: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """α (B, n) and whether it can be used (B,), in float64.

        The system is tiny and badly conditioned (residuals shrink by orders of magnitude within one history): double
        precision makes α repeatable.
        """
        n_samples = gram.shape[0]
        system = gram.new_ones(n_samples, n + 1, n + 1)
        system[:, 0, 0] = 0
        system[:, 1:, 1:] = gram[:, :n, :n] + self.regularisation * torch.eye(n, dtype=gram.dtype, device=gram.device)
        target = gram.new_zeros(n_samples, n + 1, 1)
        target[:, 0] = 1
        solution, info = torch.linalg.solve_ex(system, target)
        weights = solution[:, 1:, 0]
        return weights, (info == 0) & torch.isfinite(weights).all(dim=1)


def _exact_device(z: Tensor) -> torch.device:
    """Where α is solved for: where z is, so that nothing waits for the host, unless that has no float64."""
    return torch.device("cpu") if z.device.type in WITHOUT_FLOAT64 else z.device


def _remember(state: AndersonState, x: Tensor, value: Tensor) -> Tensor:
    """Puts an iterate into its slot, and gives its residual (B, D)."""
    slot = state.k % state.values.shape[1]
    residual = value - x
    state.values[:, slot] = value
    state.residuals[:, slot] = residual
    state.k += 1
    filled = min(state.k, state.values.shape[1])
    # Sums of products, slot by slot: a matrix-vector product over so many elements loses three digits of float32, by
    # the batch size, and the weights of a long or damped history amplify what is lost.
    products = torch.stack([(state.residuals[:, k] * residual).sum(dim=1) for k in range(filled)], dim=1)
    products = products.to(state.gram.device).double()
    state.gram[:, slot, :filled] = products
    state.gram[:, :filled, slot] = products
    return residual
