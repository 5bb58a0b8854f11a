"""Fixed-point solvers under one driver, for any function of a batch of vectors."""

from ldeq.config import SolverConfig
from ldeq.solver_tally import StopReason
from ldeq.solvers.anderson import Anderson
from ldeq.solvers.base import Iterate, Solution, Solver, SolverStats, solve
from ldeq.solvers.broyden import Broyden
from ldeq.solvers.fixed_point import FixedPointIteration


def make_solver(config: SolverConfig) -> Solver:
    """The solver that ``config.solver`` names, with its settings."""
    if config.solver == "fpi":
        return FixedPointIteration()
    if config.solver == "anderson":
        return Anderson(config.anderson_m, config.anderson_lam, config.anderson_beta)
    return Broyden()


__all__ = [
    "Anderson",
    "Broyden",
    "FixedPointIteration",
    "Iterate",
    "Solution",
    "Solver",
    "SolverStats",
    "StopReason",
    "make_solver",
    "solve",
]
