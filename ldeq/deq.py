"""The DEQ layer: heatmaps z* with z* = f(z*, x), found by a solver, or f applied a fixed number of times."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldeq.blocks import Cell
from ldeq.config import ModelConfig, SolverConfig
from ldeq.solvers import Solution, SolverStats, make_solver, solve


@dataclass(frozen=True)
class Equilibrium:
    """What the layer gives."""

    #: z*, (B, z_width, S, S), the evaluation that follows the solver included.
    z: Tensor
    #: None in explicit mode.
    stats: SolverStats | None
    #: z0 and then one (B, z_width, S, S) an iteration, where asked for.
    trajectory: list[Tensor] | None


class DEQLayer(nn.Module):
    """Implicit mode: z* of the cell by fixed-point solving (paper, section 3.1). Explicit mode: the unrolled cell.

    Explicit mode is differentiable as it is. Implicit mode has no gradient yet: it is solved without a graph, and what
    :meth:`forward` gives is where implicit differentiation will attach one.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.cell = Cell(config)

    def forward(
        self, z0: Tensor, injection: Tensor, solver_config: SolverConfig, return_trajectory: bool = False
    ) -> Equilibrium:
        """z0 (B, z_width, S, S), injection (B, I, S, S) → :class:`Equilibrium`."""
        injected = self.cell.inject(injection)
        if self.config.model_mode == "explicit":
            return self._unroll(z0, injected, return_trajectory)
        with torch.no_grad():
            return self._solve(z0, injected, solver_config, return_trajectory)

    def _unroll(self, z: Tensor, injected: Tensor, return_trajectory: bool) -> Equilibrium:
        trajectory = [z]
        for _ in range(self.config.explicit_depth):
            z = self.cell.step(z, injected)
            if return_trajectory:
                trajectory.append(z)
        return Equilibrium(z, None, trajectory if return_trajectory else None)

    def _solve(self, z0: Tensor, injected: Tensor, config: SolverConfig, return_trajectory: bool) -> Equilibrium:
        shape = z0.shape[1:]
        kind = z0.device.type
        autocast, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

        def f(z: Tensor, share: Tensor) -> Tensor:
            with torch.autocast(kind, dtype, enabled=autocast):
                return self.cell.step(z.view(-1, *shape), share).flatten(1)

        # Half precision is for the cell's convolutions: a solver's inner products would be lost in it.
        with torch.autocast(kind, enabled=False):
            solution: Solution = solve(
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
        z = solution.z
        if not config.take_one_less_inference_step:
            following = f(z, injected)
            finite = torch.isfinite(torch.linalg.vector_norm(following, dim=1, keepdim=True))
            z = torch.where(finite, following, z)
        trajectory = solution.trajectory and [iterate.view(-1, *shape) for iterate in solution.trajectory]
        return Equilibrium(z.view(-1, *shape), solution.stats, trajectory)
