"""How the solver did over a run, counted, and in words."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from ldeq.config import SolverConfig
from ldeq.errors import NotFiniteError

if TYPE_CHECKING:  # this module works where PyTorch is not installed
    from ldeq.solvers.base import SolverStats


class StopReason(IntEnum):
    """The reason why a sample's iteration ended."""

    CONVERGED = 0
    MAX_ITERS = 1
    #: The error grew past the solver's bound (Broyden).
    DIVERGED = 2
    #: The iterate, or f at it, was not finite; the sample keeps its best finite iterate, or z0 if there is none.
    NON_FINITE = 3


@dataclass
class SolverTally:
    """Counts of solves, a solve a sample."""

    n_solved: int = 0
    n_converged: int = 0
    #: Samples that ended at the best iterate before one that was not finite, or at z0 where there was none.
    n_not_finite: int = 0
    n_iters: int = 0

    def add(self, stats: "SolverStats | None") -> None:
        """Counts a batch; explicit mode (None) has nothing to count."""
        if stats is not None:
            for sample in self.of_samples(stats):
                self.merge(sample)

    @classmethod
    def of_samples(cls, stats: "SolverStats") -> "list[SolverTally]":
        """One for each sample of a batch."""
        solves = zip(stats.stop_reason.tolist(), stats.n_iters.tolist(), strict=True)
        return [
            cls(1, int(reason == StopReason.CONVERGED), int(reason == StopReason.NON_FINITE), n_iters)
            for reason, n_iters in solves
        ]

    @classmethod
    def total(cls, tallies: "Iterable[SolverTally]") -> "SolverTally":
        """The counts of all of them together."""
        total = cls()
        for tally in tallies:
            total.merge(tally)
        return total

    def merge(self, other: "SolverTally") -> None:
        """Adds another's counts."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)

    @property
    def n_not_converged(self) -> int:
        """Solves that ended before their error was below the tolerance."""
        return self.n_solved - self.n_converged

    def check(self) -> str | None:
        """:meth:`unsound`.

        Raises:
            NotFiniteError: where no solve stayed finite.
        """
        if self.n_solved and self.n_not_finite == self.n_solved:
            raise NotFiniteError("no solve stayed finite, expected weights that fit the precision")
        return self.unsound()

    def unsound(self) -> str | None:
        """A warning where some solves were not finite."""
        if self.n_not_finite == 0:
            return None
        return (
            f"{self.n_not_finite} of {self.n_solved} solves met numbers that are not finite: their landmarks are poor."
        )

    def convergence(self, config: SolverConfig) -> str | None:
        """A sentence on solves with these settings that did not converge, where there were some.

        That is no fault where the iterations are few by choice, as RwR's are: those are not to be asked about.
        """
        if self.n_not_converged == 0:
            return None
        target = f"{config.stop_mode}_diff_target = {config.tolerance:g}"
        counted = f"{self.n_not_converged} of {self.n_solved} solves ended without reaching {target}"
        return f"{counted} ({config.solver}, at most {config.max_iters} iterations)."

    def mostly_not_converged(self, config: SolverConfig) -> str | None:
        """:meth:`convergence` as a warning, where it is so of more than half of the solves."""
        if 2 * self.n_not_converged <= self.n_solved:
            return None
        return f"Most solves did not converge: {self.convergence(config)} Landmarks are of where the solver ended."

    def summary(self, to_converge: bool = False) -> dict[str, float | int | None]:
        """For a run's JSON file.

        Args:
            to_converge: whether the solves were to converge; then those that did not are counted.
        """
        mean = self.n_iters / self.n_solved if self.n_solved else None
        counts: dict[str, float | int | None] = {"n_solved": self.n_solved, "n_converged": self.n_converged}
        if to_converge:
            counts["n_not_converged"] = self.n_not_converged
        return {**counts, "n_not_finite": self.n_not_finite, "mean_n_iters": mean}


def describe_solve(stats: "SolverStats | None") -> str:
    """One line on how the solver did on a batch."""
    if stats is None:
        return "explicit mode: no solver"
    iterations = ", ".join(str(n) for n in stats.n_iters.tolist())
    reasons = [StopReason(code).name.lower().replace("_", " ") for code in sorted(set(stats.stop_reason.tolist()))]
    return (
        f"solver: iterations [{iterations}], {' and '.join(reasons)}, "
        f"mean abs error {stats.abs_error.mean():.3e}, mean rel error {stats.rel_error.mean():.3e}, "
        f"{int(stats.n_fallbacks.sum())} singular steps replaced"
    )
