"""Landmarks of face crops by PyTorch."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ldeq.device import describe_device, slow_precision_note
from ldeq.face.crop import FaceCrop
from ldeq.face.landmarker import CropLandmarks
from ldeq.model.network import LDEQ
from ldeq.model.normalisation import normalise
from ldeq.model.summary import print_summary
from ldeq.recurrence import RecurrentLDEQ
from ldeq.runtime.steps import version_of
from ldeq.solve_settings import SolveSettings
from ldeq.solver_tally import SolverTally, describe_solve


class TorchLandmarker:
    """An LDEQ network over any number of faces, all faces of a frame in one batch.

    Args:
        network: holds each face's equilibrium.
        on_solve: called with a line on how the solver did on every batch.
    """

    def __init__(
        self,
        network: RecurrentLDEQ,
        on_solve: Callable[[str], None] | None = None,
    ) -> None:
        self.network = network
        self.tally = SolverTally()
        self._on_solve = on_solve
        self._device = next(network.model.parameters()).device

    def locate(self, crops: Sequence[FaceCrop], faces: Sequence[Hashable]) -> CropLandmarks:
        """See :class:`ldeq.face.landmarker.Landmarker`.

        Raises:
            NotFiniteError: where the network's landmarks are not finite.
        """
        images = np.stack([crop.image for crop in crops])
        output = self.network.step(normalise(images, self._device), faces).on_host()
        solves = [] if output.stats is None else SolverTally.of_samples(output.stats)
        self.tally.merge(SolverTally.total(solves))
        if self._on_solve is not None:
            self._on_solve(describe_solve(output.stats))
        points = output.finite_keypoints().astype(np.float64)
        return CropLandmarks(points, output.uncertainty.numpy().astype(np.float64), solves)

    def restart(self, *faces: Hashable) -> None:
        """See :class:`ldeq.face.landmarker.Landmarker`."""
        self.network.reset(*faces)


class TorchNetwork:
    """A checkpoint's network on PyTorch, which solves as any settings say.

    Args:
        model: on its device, ready for the precision (:func:`ldeq.device.load_model`).
        weights: the checkpoint's path.
    """

    runtime = "torch"

    def __init__(self, model: LDEQ, weights: Path, precision: str = "fp32") -> None:
        self.model = model
        self.weights = weights
        self.config = model.config
        self.solver_config = model.solver_config
        self.precision = precision
        device = next(model.parameters()).device
        self.device = describe_device(device)
        self.description = f"{version_of(self.runtime)}, {precision}"
        self.warning = slow_precision_note(device, precision)

    def landmarker(self, settings: SolveSettings, on_solve: Callable[[str], None] | None = None) -> TorchLandmarker:
        """See :class:`ldeq.runtime.network.Network`."""
        return TorchLandmarker(RecurrentLDEQ(self.model, **asdict(settings)), on_solve)

    def print_summary(self) -> None:
        """See :class:`ldeq.runtime.network.Network`."""
        print_summary(self.model)
