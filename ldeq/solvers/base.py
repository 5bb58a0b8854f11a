"""Fixed-point solving: what a solver is, and the one driver that runs them.

A solver holds its update rule and its state and nothing else. The driver owns stopping, the best iterate,
per-sample bookkeeping, the trajectory and the statistics. A new solver is a new file with ``init`` and ``step``.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from ldeq.config import STOP_CRITERIA, STOP_MODES
from ldeq.solver_tally import StopReason

State = TypeVar("State")

#: z (B, D) → f(z) (B, D), each sample by itself.
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Iterate:
    """The proposal of one step, for the B samples that are still iterating."""

    #: (B, D), the candidate for the solution.
    z: Tensor
    #: (B,), the residual as the solver defines it: ‖f(z) − z‖, or the last change of z in fixed-point iteration.
    abs_error: Tensor
    #: (B,), the same relative to the size of f(z).
    rel_error: Tensor
    #: (B,) bool: the mixing or update was singular or not finite and something plainer stood in for it.
    fell_back: Tensor


class Solver(Protocol):
    """An update rule. ``State`` is a dataclass whose tensors all have the samples as their first dimension."""

    #: True where the solution is the iterate of lowest error (else the last one).
    keeps_best: ClassVar[bool]
    #: Evaluations of f that ``init`` makes; each ``step`` makes one.
    init_evaluations: ClassVar[int]
    #: The error, by stop mode, relative to that after the first step, past which a sample has diverged.
    divergence_ratio: ClassVar[Mapping[str, float] | None]

    def init(self, f: Function, z0: Tensor) -> Any:
        """State before the first step, from z0 (B, D)."""
        ...

    def step(self, f: Function, state: Any) -> Iterate:
        """One iteration. May change ``state`` in place."""
        ...


@dataclass(frozen=True)
class SolverStats:
    """How the solve went, per sample; every tensor is (B,)."""

    #: Iterations made, as the solver counts them.
    n_iters: Tensor
    #: The solver's residual and its relative form, of the iterate that it returned; inf where that is z0.
    abs_error: Tensor
    rel_error: Tensor
    #: Evaluations of f, without one that follows the solver.
    n_evaluations: Tensor
    #: A :class:`StopReason`.
    stop_reason: Tensor
    #: Iterations whose mixing or update was singular or not finite, and was replaced or left out.
    n_fallbacks: Tensor


@dataclass(frozen=True)
class Solution:
    """The result of :func:`solve`."""

    #: (B, D)
    z: Tensor
    stats: SolverStats
    #: z0 and one (B, D) an iteration, where asked for; a sample that has stopped repeats its last.
    trajectory: list[Tensor] | None


@torch.no_grad()
def solve(
    f: Callable[..., Tensor],
    z0: Tensor,
    solver: Solver,
    *,
    max_iters: int | Sequence[int],
    tolerance: float,
    stop_mode: str = "rel",
    stop_criterion: str = "sample",
    args: Sequence[Tensor] = (),
    return_trajectory: bool = False,
) -> Solution:
    """Solves z = f(z, \\*args) for a batch of independent samples.

    A sample stops by its own error (``stop_criterion="sample"``), and then is no longer evaluated, so that a result
    depends on its neighbours in the batch by rounding alone. With ``"batch"`` all stop, and choose their best
    iterate, by the mean error of the batch, as the published system does. Samples whose iterate is not finite end in
    either mode and no longer count.

    Args:
        f: (b, D), then each of ``args`` restricted to the same b samples → (b, D).
        z0: (B, D), where the iteration starts.
        max_iters: iterations at most, at least 1: of all samples, or B of them, one a sample.
        tolerance: a sample has converged when the error that ``stop_mode`` names (``rel`` or ``abs``) is below it.
        args: tensors with the samples as their first dimension.

    No gradient flows through the iterations.

    Raises:
        ValueError: where ``stop_mode`` or ``stop_criterion`` is another word, or ``max_iters`` are not B.
    """
    if stop_mode not in STOP_MODES or stop_criterion not in STOP_CRITERIA:
        raise ValueError(f"{stop_mode!r} and {stop_criterion!r}, expected one of {STOP_MODES} and of {STOP_CRITERIA}")
    n_samples = z0.shape[0]
    limits = [max_iters] * n_samples if isinstance(max_iters, int) else list(max_iters)
    if len(limits) != n_samples:
        raise ValueError(f"{len(limits)} values of max_iters for {n_samples} samples, expected one each")
    last_iteration = max(limits, default=0)
    #: Iterations at which some samples, but not all, have made their last. Known to the host: nothing waits for them.
    partial_ends = set(limits) - {last_iteration}
    device = z0.device
    limit = torch.tensor(limits, device=device) if partial_ends else None
    by_batch = stop_criterion == "batch"
    n_iters = torch.zeros(n_samples, dtype=torch.int64, device=device)
    reason = torch.full_like(n_iters, StopReason.MAX_ITERS)
    n_fallbacks = torch.zeros_like(n_iters)
    solution = z0.clone()
    abs_error = torch.full((n_samples,), torch.inf, dtype=z0.dtype, device=device)
    rel_error = abs_error.clone()
    trajectory = [z0] if return_trajectory else None

    rows = torch.arange(n_samples, device=device)  # which samples the working tensors below stand for
    args = tuple(args)

    def f_of_rows(z: Tensor) -> Tensor:
        return f(z, *args)

    best = _Best(z0, abs_error.clone(), rel_error.clone(), torch.full_like(abs_error, torch.inf))
    state = solver.init(f_of_rows, z0)
    first: Tensor | None = None

    for iteration in range(1, last_iteration + 1):
        iterate = solver.step(f_of_rows, state)
        finite = _is_finite(iterate)
        error = iterate.rel_error if stop_mode == "rel" else iterate.abs_error
        if by_batch:
            error = _mean_over(error, finite)
        first = error if first is None else first
        n_iters[rows] = iteration
        n_fallbacks[rows] += iterate.fell_back
        if trajectory is not None:
            current = trajectory[-1].clone()
            current[rows] = torch.where(finite[:, None], iterate.z, current[rows])
            trajectory.append(current)

        best.update(iterate, error, finite & (error < best.error) if solver.keeps_best else finite)
        converged = finite & (error < tolerance)
        diverged = torch.zeros_like(finite)
        if solver.divergence_ratio is not None:
            diverged = finite & ~converged & (error > solver.divergence_ratio[stop_mode] * first)
        reason[rows] = torch.where(
            ~finite,
            int(StopReason.NON_FINITE),
            torch.where(
                converged, int(StopReason.CONVERGED), torch.where(diverged, int(StopReason.DIVERGED), reason[rows])
            ),
        )
        if iteration == last_iteration:
            break
        stopped = ~finite | converged | diverged
        if limit is not None and iteration in partial_ends:
            stopped |= limit[rows] <= iteration
        if bool(stopped.all()):
            break
        if bool(stopped.any()):
            # Only the others go on: what has stopped costs nothing more and cannot disturb them.
            gone, kept = rows[stopped], ~stopped
            solution[gone] = best.z[stopped]
            abs_error[gone], rel_error[gone] = best.abs_error[stopped], best.rel_error[stopped]
            rows, first = rows[kept], first[kept]
            args = tuple(arg[kept] for arg in args)
            best, state = select_samples(best, kept), select_samples(state, kept)

    solution[rows] = best.z
    abs_error[rows], rel_error[rows] = best.abs_error, best.rel_error
    stats = SolverStats(n_iters, abs_error, rel_error, n_iters + solver.init_evaluations, reason, n_fallbacks)
    return Solution(solution, stats, trajectory)


@dataclass
class _Best:
    """The iterate that each sample keeps, and the error by which it was chosen."""

    z: Tensor
    abs_error: Tensor
    rel_error: Tensor
    error: Tensor

    def update(self, iterate: Iterate, error: Tensor, better: Tensor) -> None:
        self.z = torch.where(better[:, None], iterate.z, self.z)
        self.abs_error = torch.where(better, iterate.abs_error, self.abs_error)
        self.rel_error = torch.where(better, iterate.rel_error, self.rel_error)
        self.error = torch.where(better, error, self.error)


def select_samples(state: State, kept: Tensor) -> State:
    """The state of the samples where ``kept`` (B,) is true."""
    names = [field.name for field in dataclasses.fields(state)]  # type: ignore[arg-type]
    tensors = {name: getattr(state, name) for name in names if isinstance(getattr(state, name), Tensor)}
    return dataclasses.replace(state, **{name: tensor[kept.to(tensor.device)] for name, tensor in tensors.items()})  # type: ignore[type-var]


def _is_finite(iterate: Iterate) -> Tensor:
    """By its errors, which are not finite where z or f(z) is not, or are 0 relative to an infinite size."""
    overflowed = (iterate.rel_error == 0) & (iterate.abs_error > 0)
    return torch.isfinite(iterate.abs_error) & torch.isfinite(iterate.rel_error) & ~overflowed


def _mean_over(error: Tensor, finite: Tensor) -> Tensor:
    """The mean over the finite samples, for each of them."""
    total = torch.where(finite, error, 0).sum()
    return (total / finite.sum().clamp(min=1)).expand_as(error)
