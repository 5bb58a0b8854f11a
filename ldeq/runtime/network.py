"""A network that is ready to find landmarks, whatever runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ldeq.config import ModelConfig, SolverConfig
from ldeq.errors import InputError
from ldeq.face.landmarker import Landmarker
from ldeq.runtime.step_file import StepDescription
from ldeq.runtime.step_landmarker import StepLandmarker
from ldeq.runtime.steps import Step, version_of
from ldeq.solve_settings import SolveSettings
from ldeq.solver_tally import SolverTally
from ldeq.torchrun import n_threads


class CountedLandmarker(Landmarker, Protocol):
    """A landmarker that counts its solves."""

    tally: SolverTally


class Network(Protocol):
    """A network on its runtime."""

    #: The checkpoint, or the exported step.
    weights: Path
    config: ModelConfig
    #: The network's own settings.
    solver_config: SolverConfig
    precision: str
    #: What runs it, by the name of a runtime (``torch``, ``onnxruntime``, ``openvino``), and in words.
    runtime: str
    description: str
    #: Where it runs, in words.
    device: str
    #: What its user should know, if there is anything.
    warning: str | None

    def landmarker(self, settings: SolveSettings, on_solve: Callable[[str], None] | None = None) -> CountedLandmarker:
        """What finds landmarks of crops, with a memory of its own.

        Args:
            on_solve: called with a line on how the solver did on every batch.

        Raises:
            InputError: where this network cannot solve as the settings say.
        """
        ...

    def print_summary(self) -> None:
        """Prints the network's layers, parameters and operations.

        Raises:
            InputError: where they are not known.
        """
        ...


class StepNetwork:
    """An exported step on a runtime that needs no PyTorch.

    Args:
        weights: the checkpoint that the step is of, or the exported file where there is no other.
    """

    warning: str | None = None

    def __init__(self, step: Step, description: StepDescription, weights: Path, runtime: str, precision: str) -> None:
        self.weights = weights
        self.config = description.model
        self.solver_config = description.solver
        self.precision = precision
        self.runtime = runtime
        self.description = f"{version_of(runtime)}, {precision}"
        self.device = f"cpu ({n_threads()} threads)"
        self._step = step
        self._described = description

    def landmarker(self, settings: SolveSettings, on_solve: Callable[[str], None] | None = None) -> CountedLandmarker:
        """See :class:`Network`."""
        lack = self._described.lacks(settings)
        if lack is not None:
            raise InputError(
                f"{self.weights}: {lack}, expected settings that fit it, or a checkpoint and the runtime torch"
            )
        return StepLandmarker(self._step, self._described, settings, on_solve)

    def print_summary(self) -> None:
        """See :class:`Network`."""
        raise InputError(f"{self.weights}: runs as an exported step, expected the runtime torch for a summary")
