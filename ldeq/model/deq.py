"""The DEQ layer: heatmaps z* with z* = f(z*, x), found by a solver, or f applied a fixed number of times."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldeq.config import GradientConfig, ModelConfig, SolverConfig
from ldeq.model.blocks import Cell
from ldeq.model.gradients import GradientAux, implicit_step, straight_through
from ldeq.model.layout import layout_of
from ldeq.solvers import Solution, SolverStats, StopReason, choose, make_solver, solve
from ldeq.solvers.fixed_point import EPS
from ldeq.transfer import to_device

#: Made once, as settings are checked when they are made.
_DEFAULT_GRADIENT = GradientConfig()


@dataclass(frozen=True)
class Equilibrium:
    """The layer's output for B samples."""

    #: z*, (B, z_width, S, S), the evaluation that follows the solver included.
    z: Tensor
    #: None in explicit mode.
    stats: SolverStats | None
    #: z0 and then one (B, z_width, S, S) an iteration, where asked for.
    trajectory: list[Tensor] | None
    #: Further terms for a loss; None where no gradient was wanted.
    aux: GradientAux | None = None


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
        solver_config: SolverConfig | Sequence[SolverConfig],
        return_trajectory: bool = False,
        gradient: GradientConfig | None = None,
    ) -> Equilibrium:
        """z0 (B, z_width, S, S), injection (B, I, S, S) → :class:`Equilibrium`.

        Args:
            solver_config: one, or B of them that differ in ``max_iters`` and ``take_one_less_inference_step`` at most.

        Where gradients are enabled and the injection or a weight requires one, z* has the gradient that ``gradient``
        says, implicit differentiation if None.
        """
        injected = self.cell.inject(injection)
        wanted = torch.is_grad_enabled() and (
            injected.requires_grad or any(weight.requires_grad for weight in self.cell.parameters())
        )
        gradient = gradient or _DEFAULT_GRADIENT
        if self.config.model_mode == "explicit":
            return self._unroll(z0, injected, self.config.explicit_depth, return_trajectory, wanted, gradient)
        settings = _Settings.of(solver_config, len(z0))
        if wanted and gradient.gradient == "unrolled":
            return self._unroll(z0, injected, max(settings.max_iters), return_trajectory, wanted, gradient)
        n_corrections = gradient.n_corrections if wanted else 0
        with torch.no_grad():
            solution = self._solve(z0, injected, settings, return_trajectory or n_corrections > 0)
        if wanted:
            # Autocast keeps the halved weights of the solve, which had no graph; up to some PyTorch of 2025 it would
            # hand them on to the evaluation below, and the weights would get no gradient.
            torch.clear_autocast_cache()
        z = _as_maps(solution.z, z0)
        trajectory = solution.trajectory and [_as_maps(iterate, z0) for iterate in solution.trajectory]
        aux = None
        if wanted:
            f_z, aux = implicit_step(lambda z: self.cell.step(z, injected), z, gradient)
            usable, kept = is_finite(f_z), z
            if not all(settings.last_step):
                takes = settings.takes_last_step(z.device)
                usable, kept = usable & takes, choose(takes, z, straight_through(f_z, z))
            z = choose(usable, f_z, kept)
            for iterate in _evenly(trajectory[1:-1], n_corrections) if trajectory and n_corrections else []:
                aux.corrections.append(self.cell.step(iterate, injected))
        elif any(settings.last_step):
            f_z = self.cell.step(z, injected)
            usable = is_finite(f_z)
            if not all(settings.last_step):
                usable = usable & settings.takes_last_step(z.device)
            z = choose(usable, f_z, z)
        return Equilibrium(z, solution.stats, trajectory if return_trajectory else None, aux)

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
        aux = GradientAux(trajectory[1:-1] if gradient.n_corrections else []) if wanted else None
        stats = None if self.config.model_mode == "explicit" else _stats_of_last_step(before, z, depth)
        return Equilibrium(z, stats, trajectory if return_trajectory else None, aux)

    def _solve(self, z0: Tensor, injected: Tensor, settings: "_Settings", return_trajectory: bool) -> Solution:
        config = settings.config
        kind = z0.device.type
        autocast, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

        def f(z: Tensor, injected: Tensor) -> Tensor:
            with torch.autocast(kind, dtype, enabled=autocast):
                return _as_rows(self.cell.step(_as_maps(z, z0), injected), z0)

        # Half precision is for the cell's convolutions: a solver's inner products would be lost in it.
        with torch.autocast(kind, enabled=False):
            return solve(
                f,
                _as_rows(z0, z0),
                make_solver(config),
                max_iters=settings.max_iters,
                tolerance=config.tolerance,
                stop_mode=config.stop_mode,
                stop_criterion=config.stop_criterion,
                args=(injected,),
                return_trajectory=return_trajectory,
            )


@dataclass(frozen=True)
class _Settings:
    """How B samples are solved."""

    config: SolverConfig
    #: Iterations of each sample at most.
    max_iters: list[int]
    #: True where one more evaluation of the cell follows the solver, of each sample.
    last_step: list[bool]

    @classmethod
    def of(cls, config: SolverConfig | Sequence[SolverConfig], n_samples: int) -> "_Settings":
        configs = [config] * n_samples if isinstance(config, SolverConfig) else list(config)
        if len(configs) != n_samples:
            raise ValueError(f"{len(configs)} solver settings for {n_samples} samples, expected one each")
        first = configs[0] if configs else SolverConfig()
        for other in dict.fromkeys(configs):
            last = other.take_one_less_inference_step
            if other != first and other != dataclasses.replace(
                first, max_iters=other.max_iters, take_one_less_inference_step=last
            ):
                raise ValueError("solver settings of one batch differ in more than max_iters and the last step")
        return cls(first, [c.max_iters for c in configs], [not c.take_one_less_inference_step for c in configs])

    def takes_last_step(self, device: torch.device) -> Tensor:
        """:attr:`last_step` as (B,) on the device. Only a batch whose samples do not all take it needs it."""
        return to_device(torch.tensor(self.last_step, dtype=torch.bool), device)


def _as_rows(z: Tensor, like: Tensor) -> Tensor:
    """(b, z_width, S, S) → (b, D), in the order that ``like`` has in memory. Nothing is copied where z has it too."""
    return (z.permute(0, 2, 3, 1) if layout_of(like) == torch.channels_last else z).flatten(1)


def _as_maps(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of :func:`_as_rows`, for rows (b, D) in the order of ``like`` (B, z_width, S, S)."""
    width, height, side = like.shape[1:]
    if layout_of(like) == torch.channels_last:
        return rows.view(len(rows), height, side, width).permute(0, 3, 1, 2)
    return rows.view(len(rows), width, height, side)


def is_finite(z: Tensor) -> Tensor:
    """Whether all of a sample's numbers are finite, and their norm: (B, …) → (B,) bool."""
    norm: Tensor = torch.linalg.vector_norm(z.detach(), dim=tuple(range(1, z.ndim)))
    return norm < torch.inf


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
