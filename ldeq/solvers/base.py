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
from ldeq.transfer import to_device

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
    limit = to_device(torch.tensor(limits), device) if partial_ends else None
    by_batch = stop_criterion == "batch"
    trajectory = [z0] if return_trajectory else None
    args = tuple(args)

    def f_of_rows(z: Tensor) -> Tensor:
        return f(z, *args)

    # What the working tensors below stand for: all samples, until some have stopped and others have not.
    rows: Tensor | None = None
    finished: _Kept | None = None
    kept = _Kept.of(z0)
    state = solver.init(f_of_rows, z0)
    first: Tensor | None = None

    for iteration in range(1, last_iteration + 1):
        iterate = solver.step(f_of_rows, state)
        finite = _is_finite(iterate)
        error = iterate.rel_error if stop_mode == "rel" else iterate.abs_error
        if by_batch:
            error = _mean_over(error, finite)
        first = error if first is None else first
        if trajectory is not None:
            trajectory.append(_followed(trajectory[-1], rows, finite, iterate.z))

        kept.update(iterate, error, finite & (error < kept.error) if solver.keeps_best else finite)
        kept.n_iters.fill_(iteration)
        kept.n_fallbacks += iterate.fell_back
        diverged_from = None if solver.divergence_ratio is None else solver.divergence_ratio[stop_mode] * first
        kept.reason = _stop_reason(kept.reason, error, finite, tolerance, diverged_from)
        if iteration == last_iteration:
            break
        stopped = kept.reason != StopReason.MAX_ITERS
        if limit is not None and iteration in partial_ends:
            stopped |= (limit if rows is None else limit[rows]) <= iteration
        has_stopped: list[bool] = stopped.tolist()  # all that the host waits for
        if all(has_stopped):
            break
        if any(has_stopped):
            # Only the others go on: what has stopped costs nothing more and cannot disturb them.
            gone, going = (
                to_device(torch.tensor([row for row, has in enumerate(has_stopped) if has == wanted]), device)
                for wanted in (True, False)
            )
            if rows is None or finished is None:
                rows, finished = torch.arange(n_samples, device=device), kept.copy()
            finished.put(rows[gone], select_samples(kept, gone))
            rows, first = rows[going], first[going]
            args = tuple(arg[going] for arg in args)
            kept, state = select_samples(kept, going), select_samples(state, going)

    if rows is not None and finished is not None:
        finished.put(rows, kept)
        kept = finished
    evaluations = kept.n_iters + solver.init_evaluations
    stats = SolverStats(kept.n_iters, kept.abs_error, kept.rel_error, evaluations, kept.reason, kept.n_fallbacks)
    return Solution(kept.z, stats, trajectory)


@dataclass
class _Kept:
    """What each sample keeps: an iterate, the error by which it was chosen, and counts."""

    z: Tensor
    abs_error: Tensor
    rel_error: Tensor
    error: Tensor
    n_iters: Tensor
    reason: Tensor
    n_fallbacks: Tensor

    @classmethod
    def of(cls, z0: Tensor) -> "_Kept":
        """Before the first iteration."""
        endless = torch.full(z0.shape[:1], torch.inf, dtype=z0.dtype, device=z0.device)
        none = torch.zeros(z0.shape[:1], dtype=torch.int64, device=z0.device)
        reason = torch.full_like(none, int(StopReason.MAX_ITERS))
        return cls(z0, endless, endless, endless, none.clone(), reason, none)

    def update(self, iterate: Iterate, error: Tensor, better: Tensor) -> None:
        """Takes the iterates of the samples where ``better`` (B,) is true."""
        if _holds_for_all(better):
            self.z, self.error = iterate.z, error
            self.abs_error, self.rel_error = iterate.abs_error, iterate.rel_error
            return
        self.z = choose(better, iterate.z, self.z)
        self.abs_error = torch.where(better, iterate.abs_error, self.abs_error)
        self.rel_error = torch.where(better, iterate.rel_error, self.rel_error)
        self.error = torch.where(better, error, self.error)

    def copy(self) -> "_Kept":
        return _Kept(*(tensor.clone() for tensor in vars(self).values()))

    def put(self, rows: Tensor, part: "_Kept") -> None:
        """Takes what the samples of these rows keep."""
        for name, tensor in vars(self).items():
            tensor.index_copy_(0, rows, getattr(part, name))


def choose(condition: Tensor, new: Tensor, old: Tensor | float) -> Tensor:
    """``new`` (B, …) for the samples where ``condition`` (B,) is true, ``old`` for the others.

    On the CPU this is ``new`` itself, uncopied, where all are true.
    """
    if _holds_for_all(condition):
        return new
    return torch.where(condition.view(-1, *[1] * (new.ndim - 1)), new, old)


def _holds_for_all(condition: Tensor) -> bool:
    """Whether a condition (B,) is known to hold for all samples: on the CPU, where a look at it waits for nothing."""
    return condition.device.type == "cpu" and bool(condition.all())


def _followed(last: Tensor, rows: Tensor | None, finite: Tensor, z: Tensor) -> Tensor:
    """The trajectory's next (B, D): z of these rows (None: of all) where that is finite, else what was there last."""
    if rows is None:
        return choose(finite, z, last)
    return last.index_copy(0, rows, choose(finite, z, last[rows]))


def select_samples(state: State, rows: Tensor) -> State:
    """The state of some samples, by their rows (b,)."""
    names = [field.name for field in dataclasses.fields(state)]  # type: ignore[arg-type]
    tensors = {name: getattr(state, name) for name in names if isinstance(getattr(state, name), Tensor)}
    return dataclasses.replace(state, **{name: tensor[rows.to(tensor.device)] for name, tensor in tensors.items()})  # type: ignore[type-var]


def _is_finite(iterate: Iterate) -> Tensor:
    """By its errors: relative to its size the error is not finite where z or f(z) is not, and 0 where only the size is
    infinite."""
    return (iterate.rel_error < torch.inf) & ((iterate.rel_error > 0) | (iterate.abs_error == 0))


def _stop_reason(
    before: Tensor, error: Tensor, finite: Tensor, tolerance: float, diverged_from: Tensor | None
) -> Tensor:
    """Why samples stop after an iteration, (B,), or what was there before.

    Args:
        diverged_from: (B,), the errors past which samples have diverged; None where none is taken to.
    """
    converged = finite & (error < tolerance)
    reason = before.masked_fill(converged, StopReason.CONVERGED)
    if diverged_from is not None:
        reason = reason.masked_fill(finite & ~converged & (error > diverged_from), StopReason.DIVERGED)
    return reason.masked_fill(~finite, StopReason.NON_FINITE)


def _mean_over(error: Tensor, finite: Tensor) -> Tensor:
    """The mean over the finite samples, for each of them."""
    total = torch.where(finite, error, 0).sum()
    return (total / finite.sum().clamp(min=1)).expand_as(error)
