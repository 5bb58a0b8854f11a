"""How the solver did over a run, counted, and in words."""

from dataclasses import dataclass

from ldeq.errors import InputError
from ldeq.solvers.base import SolverStats, StopReason


@dataclass
class SolverTally:
    """Counts of solves, a solve a sample."""

    n_solved: int = 0
    n_converged: int = 0
    #: Samples that ended at the best iterate before one that was not finite, or at z0 where there was none.
    n_not_finite: int = 0
    n_iters: int = 0

    def add(self, stats: SolverStats | None) -> None:
        """Counts a batch; explicit mode (None) has nothing to count."""
        if stats is not None:
            for sample in self.of_samples(stats):
                self.merge(sample)

    @classmethod
    def of_samples(cls, stats: SolverStats) -> "list[SolverTally]":
        """One for each sample of a batch."""
        solves = zip(stats.stop_reason.tolist(), stats.n_iters.tolist(), strict=True)
        return [
            cls(1, int(reason == StopReason.CONVERGED), int(reason == StopReason.NON_FINITE), n_iters)
            for reason, n_iters in solves
        ]

    def merge(self, other: "SolverTally") -> None:
        """Adds another's counts."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)

    def check(self) -> str | None:
        """A warning where some solves were not finite.

        Raises:
            InputError: where none was.
        """
        if self.n_not_finite == 0:
            return None
        if self.n_not_finite == self.n_solved:
            raise InputError("no solve stayed finite, expected weights that fit the precision")
        return (
            f"{self.n_not_finite} of {self.n_solved} solves met numbers that are not finite: their landmarks are poor."
        )

    def summary(self) -> dict[str, float | int | None]:
        """For a run's JSON file."""
        mean = self.n_iters / self.n_solved if self.n_solved else None
        counts = {"n_solved": self.n_solved, "n_converged": self.n_converged, "n_not_finite": self.n_not_finite}
        return {**counts, "mean_n_iters": mean}


def describe_solve(stats: SolverStats | None) -> str:
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
