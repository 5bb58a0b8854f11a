"""Gradients of an equilibrium: implicit differentiation, the Jacobian-free approximation, and what regularises them.

With z* = f(z*, x; θ) the implicit function theorem gives dL/dθ = uᵀ ∂f/∂θ, where u solves u = (∂f/∂z)ᵀ u + ∂L/∂z*
(Bai et al. 2019, "Deep Equilibrium Models", theorem 1). All derivatives are at z*, so nothing of the iterations that
led to it is kept: memory is that of one evaluation of f, however many the solver made.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ldeq.config import GradientConfig, SolverConfig
from ldeq.solvers import SolverStats, StopReason, make_solver, solve

#: Residual of the backward solve above which its solution is not used, relative to that of the Jacobian-free gradient.
_USABLE_ERROR = 0.5


@dataclass
class BackwardSolve:
    """How the backward pass's solve went; empty until ``backward()`` has run."""

    #: Per sample; errors are relative to the part of u that is solved for.
    stats: SolverStats | None = None
    #: (B,) bool: the solve did not come near, and the Jacobian-free gradient stood in for that sample.
    replaced: Tensor | None = None


@dataclass(frozen=True)
class GradientAux:
    """Terms of a loss that come with an equilibrium that has a gradient, and how its backward solve went."""

    #: Estimates on the way, each (B, z_width, S, S) with a gradient of its own.
    corrections: list[Tensor] = field(default_factory=list)
    #: (B,), ‖∂f/∂z‖_F² / d estimated at the equilibrium, differentiable; None without probes.
    jacobian_norm: Tensor | None = None
    #: None where there is no backward solve.
    backward: BackwardSolve | None = None


def implicit_step(f: Callable[[Tensor], Tensor], z: Tensor, config: GradientConfig) -> tuple[Tensor, GradientAux]:
    """One evaluation of f at an equilibrium, with the equilibrium's gradient.

    Args:
        f: z (B, …) → f(z, x) (B, …), each sample by itself, with a graph to x and the weights.
        z: (B, …), the equilibrium, without a graph.

    Returns:
        f(z) (B, …) whose gradient is that of the equilibrium (``implicit``) or of the one evaluation (``jfb``).
    """
    z = z.detach().requires_grad_(config.gradient == "implicit" or config.n_probes > 0)
    f_z = f(z)
    norm = _squared_jacobian_norm(f_z, z, config.n_probes) if config.n_probes else None
    if config.gradient != "implicit":
        return f_z, GradientAux(jacobian_norm=norm)
    report = BackwardSolve()
    return _Implicit.apply(f_z, z, config, report), GradientAux(jacobian_norm=norm, backward=report)


def straight_through(z: Tensor, value: Tensor) -> Tensor:
    """``value`` with the gradient of ``z``: both (B, …)."""
    out: Tensor = _StraightThrough.apply(z, value.detach())
    return out


class _Implicit(torch.autograd.Function):
    """The identity; backward, ∂L/∂z* becomes u, which autograd then takes through the one evaluation of f."""

    @staticmethod
    def forward(ctx: Any, f_z: Tensor, z: Tensor, config: GradientConfig, report: BackwardSolve) -> Tensor:
        # An input and not the output: a graph that held its own output would never be freed.
        ctx.save_for_backward(f_z, z)
        ctx.config, ctx.report = config, report
        return f_z.view_as(f_z)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        f_z, z = ctx.saved_tensors

        def transposed_jacobian(v: Tensor) -> Tensor:
            product: Tensor = torch.autograd.grad(f_z, z, v, retain_graph=True)[0]
            return product

        return solve_backward(transposed_jacobian, gradient, ctx.config, ctx.report), None, None, None


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def solve_backward(
    transposed_jacobian: Callable[[Tensor], Tensor], gradient: Tensor, config: GradientConfig, report: BackwardSolve
) -> Tensor:
    """u = Jᵀu + g, per sample.

    What is solved for is w = u − g, so w = Jᵀw + Jᵀg: g itself may be of any size (the gradient of a logarithm where a
    heatmap is almost 0), and Jᵀ brings it to that of the cell's input. The system is linear, so each sample is scaled
    to a mean square of 1, which makes the solvers' constants mean the same at every size of the loss.

    Where a sample's solve does not come near, u = g (the Jacobian-free gradient, Fung et al. 2022, which is w = 0 with
    a residual of ‖Jᵀg‖): a Jacobian that is no contraction must not make a gradient explode.

    Args:
        transposed_jacobian: v (B, …) → Jᵀv (B, …).
        gradient: g, (B, …).
    """
    n_samples, shape = len(gradient), gradient.shape
    first = transposed_jacobian(gradient).flatten(1)
    scale = first.square().mean(dim=1, keepdim=True).sqrt()
    scale = torch.where(torch.isfinite(scale) & (scale > 0), scale, 1)
    source = first / scale

    def affine(w: Tensor, source: Tensor, rows: Tensor) -> Tensor:
        if len(rows) == n_samples:
            return transposed_jacobian(w.view(shape)).flatten(1) + source
        # The graph is that of the whole batch: samples that have stopped are asked for nothing.
        every = w.new_zeros(n_samples, w.shape[1])
        every[rows] = w
        return transposed_jacobian(every.view(shape)).flatten(1)[rows] + source

    with torch.autocast(gradient.device.type, enabled=False):
        solution = solve(
            affine,
            source,
            make_solver(SolverConfig(solver=config.backward_solver)),
            max_iters=config.backward_max_iters,
            tolerance=config.backward_tolerance,
            args=(source, torch.arange(n_samples, device=gradient.device)),
        )
    stats = solution.stats
    # Not relative to w: what grows by a constant factor has a small change for its size.
    near = stats.abs_error <= _USABLE_ERROR * torch.linalg.vector_norm(source, dim=1)
    usable = (stats.stop_reason != StopReason.NON_FINITE) & near
    report.stats, report.replaced = stats, ~usable
    return gradient + torch.where(usable[:, None], solution.z * scale, 0).view(shape)


def _squared_jacobian_norm(f_z: Tensor, z: Tensor, n_probes: int) -> Tensor:
    """Hutchinson's estimate of ‖∂f/∂z‖_F² / d = E ‖vᵀ ∂f/∂z‖² / d, v normal (Bai et al. 2021, equation 5): (B,)."""
    total = torch.zeros(len(z), dtype=z.dtype, device=z.device)
    for _ in range(n_probes):
        (product,) = torch.autograd.grad(f_z, z, torch.randn_like(f_z), create_graph=True)
        total = total + product.square().flatten(1).sum(dim=1)
    return total / (n_probes * z[0].numel())
