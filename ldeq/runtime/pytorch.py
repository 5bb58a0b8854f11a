"""Landmarks of face crops by PyTorch."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from ldeq.device import autocast
from ldeq.face.crop import FaceCrop
from ldeq.face.landmarker import CropLandmarks
from ldeq.model.network import LDEQOutput
from ldeq.model.normalisation import normalise
from ldeq.recurrence import RecurrentLDEQ
from ldeq.solver_tally import SolverTally


class TorchLandmarker:
    """An LDEQ network over any number of faces, all faces of a frame in one batch.

    Args:
        network: holds each face's equilibrium.
        precision: as of :func:`ldeq.device.autocast`.
        on_output: called with the network's output of every batch.
    """

    def __init__(
        self,
        network: RecurrentLDEQ,
        precision: str = "fp32",
        on_output: Callable[[LDEQOutput], None] | None = None,
    ) -> None:
        self.network = network
        self.tally = SolverTally()
        self._precision = precision
        self._on_output = on_output
        self._device = next(network.model.parameters()).device

    def locate(self, crops: Sequence[FaceCrop], faces: Sequence[Hashable]) -> CropLandmarks:
        """See :class:`ldeq.face.landmarker.Landmarker`.

        Raises:
            NotFiniteError: where the network's landmarks are not finite.
        """
        images = np.stack([crop.image for crop in crops])
        with autocast(self._device, self._precision):
            output = self.network.step(normalise(images, self._device), faces)
        self.tally.add(output.stats)
        if self._on_output is not None:
            self._on_output(output)
        points = output.finite_keypoints().astype(np.float64)
        return CropLandmarks(points, output.uncertainty.float().cpu().numpy().astype(np.float64))

    def restart(self, *faces: Hashable) -> None:
        """See :class:`ldeq.face.landmarker.Landmarker`."""
        self.network.reset(*faces)
