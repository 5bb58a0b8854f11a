"""The DEQ layer: heatmaps z* with z* = f(z*, x), found by a solver, or f applied a fixed number of times."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldeq.blocks import Cell
from ldeq.config import ModelConfig, SolverConfig
from ldeq.gradients import Attached, GradientConfig, attach, with_value
from ldeq.solvers import Solution, SolverStats, StopReason, make_solver, solve
from ldeq.solvers.fixed_point import EPS


@dataclass(frozen=True)
class Equilibrium:
    """What the layer gives."""

    #: z*, (B, z_width, S, S), the evaluation that follows the solver included.
    z: Tensor
    #: None in explicit mode.
    stats: SolverStats | None
    #: z0 and then one (B, z_width, S, S) an iteration, where asked for.
    trajectory: list[Tensor] | None
    #: What a loss can use beside z*; None where no gradient was wanted.
    attached: Attached | None = None


class DEQLayer(nn.Module):
    """Implicit mode: z* of the cell by fixed-point solving (paper, section 3.1). Explicit mode: the unrolled cell.

    In implicit mode the solver runs without a graph, and a :class:`GradientConfig` says how z* gets its gradient. What
    z* is does not depend on whether one is wanted, except that ``unrolled`` takes plain steps in the solver's place.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.cell = Cell(config)

    def forward(
        self,
        z0: Tensor,
        injection: Tensor,
        solver_config: SolverConfig,
        return_trajectory: bool = False,
        gradient: GradientConfig | None = None,
    ) -> Equilibrium:
        """z0 (B, z_width, S, S), injection (B, I, S, S) → :class:`Equilibrium`.

        Where gradients are enabled and the injection or a weight requires one, z* has the gradient that ``gradient``
        says, implicit differentiation if None.
        """
        injected = self.cell.inject(injection)
        wanted = torch.is_grad_enabled() and (
            injected.requires_grad or any(weight.requires_grad for weight in self.cell.parameters())
        )
        gradient = gradient or GradientConfig()
        if self.config.model_mode == "explicit":
            return self._unroll(z0, injected, self.config.explicit_depth, return_trajectory, wanted, gradient)
        if wanted and gradient.gradient == "unrolled":
            return self._unroll(z0, injected, solver_config.max_iters, return_trajectory, wanted, gradient)
        n_corrections = gradient.n_corrections if wanted else 0
        with torch.no_grad():
            solution = self._solve(z0, injected, solver_config, return_trajectory or n_corrections > 0)
        if wanted:
            # Autocast keeps the halved weights of the solve, which had no graph; up to some PyTorch of 2025 it would
            # hand them on to the evaluation below, and the weights would get no gradient.
            torch.clear_autocast_cache()
        z = solution.z.view_as(z0)
        trajectory = solution.trajectory and [iterate.view_as(z0) for iterate in solution.trajectory]
        attached = None
        if wanted:
            following, attached = attach(lambda z: self.cell.step(z, injected), z, gradient)
            if solver_config.take_one_less_inference_step:
                z = with_value(following, z)
            else:
                z = torch.where(_is_finite(following), following, z)
            for iterate in _evenly(trajectory[1:-1], n_corrections) if trajectory and n_corrections else []:
                attached.corrections.append(self.cell.step(iterate, injected))
        elif not solver_config.take_one_less_inference_step:
            following = self.cell.step(z, injected)
            z = torch.where(_is_finite(following), following, z)
        return Equilibrium(z, solution.stats, trajectory if return_trajectory else None, attached)

    def _unroll(
        self,
        z: Tensor,
        injected: Tensor,
        depth: int,
        return_trajectory: bool,
        wanted: bool,
        gradient: GradientConfig,
    ) -> Equilibrium:
        """``depth`` applications of the cell, differentiable as they are."""
        trajectory = [z]
        kept = return_trajectory or (wanted and gradient.n_corrections > 0)
        before = z
        for _ in range(depth):
            before, z = z, self.cell.step(z, injected)
            if kept:
                trajectory.append(z)
        attached = Attached(trajectory[1:-1] if gradient.n_corrections else []) if wanted else None
        stats = None if self.config.model_mode == "explicit" else _stats_of_last_step(before, z, depth)
        return Equilibrium(z, stats, trajectory if return_trajectory else None, attached)

    def _solve(self, z0: Tensor, injected: Tensor, config: SolverConfig, return_trajectory: bool) -> Solution:
        shape = z0.shape[1:]
        kind = z0.device.type
        autocast, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

        def f(z: Tensor, share: Tensor) -> Tensor:
            with torch.autocast(kind, dtype, enabled=autocast):
                return self.cell.step(z.view(-1, *shape), share).flatten(1)

        # Half precision is for the cell's convolutions: a solver's inner products would be lost in it.
        with torch.autocast(kind, enabled=False):
            return solve(
                f,
                z0.flatten(1),
                make_solver(config),
                max_iters=config.max_iters,
                tolerance=config.tolerance,
                stop_mode=config.stop_mode,
                stop_criterion=config.stop_criterion,
                args=(injected,),
                return_trajectory=return_trajectory,
            )


def _is_finite(z: Tensor) -> Tensor:
    """Per sample: (B, …) → bool, (B, 1, 1, 1)."""
    return torch.isfinite(torch.linalg.vector_norm(z.detach().flatten(1), dim=1))[:, None, None, None]


def _evenly(iterates: list[Tensor], count: int) -> list[Tensor]:
    """At most ``count`` of them, evenly spread."""
    if len(iterates) <= count:
        return iterates
    return [iterates[(2 * index + 1) * len(iterates) // (2 * count)] for index in range(count)]


@torch.no_grad()
def _stats_of_last_step(before: Tensor, z: Tensor, depth: int) -> SolverStats:
    """As fixed-point iteration would give them."""
    change = torch.linalg.vector_norm((z - before).flatten(1), dim=1)
    error = change / (EPS + torch.linalg.vector_norm(z.flatten(1), dim=1))
    count = torch.full((len(z),), depth, dtype=torch.int64, device=z.device)
    reason = torch.full_like(count, StopReason.MAX_ITERS)
    return SolverStats(count, change, error, count, reason, torch.zeros_like(count))
