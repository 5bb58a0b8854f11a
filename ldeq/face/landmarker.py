"""A face in a frame, and the protocol of networks that find the landmarks of face crops."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ldeq.face.crop import FaceCrop
from ldeq.solver_tally import SolverTally


@dataclass(frozen=True)
class Face:
    """A face in a frame."""

    #: The same number in every frame that shows the face, from 1.
    id: int
    #: (98, 2) in frame pixels.
    landmarks: NDArray[np.float64]
    #: (98,), standard deviation of each heatmap as a fraction of the crop's side.
    uncertainty: NDArray[np.float64]
    #: (4,), x1 y1 x2 y2 in frame pixels: the bounding box that the crop was made around.
    bbox: NDArray[np.float64]
    #: True where this frame's solve started from nothing: a new face, one that was lost, a new shot.
    restarted: bool
    #: The crop that the network saw.
    crop: FaceCrop


class CropLandmarks(NamedTuple):
    """Landmarks of B crops."""

    #: (B, 98, 2), fractions of the crop's side.
    points: NDArray[np.float64]
    #: (B, 98), standard deviation of each heatmap as a fraction of the crop's side.
    uncertainty: NDArray[np.float64]
    #: The solve of each crop; none where nothing is solved.
    solves: Sequence[SolverTally] = ()


class Landmarker(Protocol):
    """Finds the landmarks of face crops, with a memory of each face."""

    def locate(self, crops: Sequence[FaceCrop], faces: Sequence[Hashable]) -> CropLandmarks:
        """Landmarks of crops of different faces."""
        ...

    def restart(self, *faces: Hashable) -> None:
        """Forgets what it remembers of these faces; unknown ones do nothing."""
        ...
