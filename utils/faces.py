"""Faces of a video: what is known of one in a frame, and the network that finds its landmarks."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ldeq import LDEQOutput, VideoTracker
from ldeq.images import normalise
from utils.cropping import FaceCrop
from utils.device import autocast
from utils.evaluation import SolverTally, landmarks_of


@dataclass(frozen=True)
class Face:
    """A face in a frame."""

    #: The same number in every frame that shows the face.
    id: int
    #: (98, 2) in frame pixels.
    landmarks: NDArray[np.float64]
    #: (98,), standard deviation of each heatmap as a fraction of the crop's side.
    uncertainty: NDArray[np.float64]
    #: (4,), x1 y1 x2 y2 in frame pixels: the box that the crop was made around.
    bbox: NDArray[np.float64]
    #: Whether this frame's solve started from nothing: a new face, one that was lost, a new shot.
    restarted: bool
    #: Landmarks and uncertainty of the network that solves every frame by itself, where there is one to compare.
    frame_by_frame: "Landmarks | None" = None


class Landmarks(NamedTuple):
    """Landmarks and their uncertainty: of B crops, (B, 98, 2) as fractions and (B, 98), or of one face."""

    points: NDArray[np.float64]
    uncertainty: NDArray[np.float64]


class Landmarker(Protocol):
    """Finds the landmarks of face crops, with a memory of each face."""

    def locate(self, crops: Sequence[FaceCrop], faces: Sequence[Hashable]) -> Landmarks:
        """Landmarks of crops of different faces."""
        ...

    def restart(self, *faces: Hashable) -> None:
        """Forgets what it remembers of these faces; unknown ones do nothing."""
        ...


class NetworkLandmarker:
    """An LDEQ network over any number of faces, all faces of a frame in one batch.

    Args:
        tracker: holds each face's equilibrium.
        precision: as of :func:`utils.device.autocast`.
        on_output: called with the network's output of every batch.
    """

    def __init__(
        self,
        tracker: VideoTracker,
        precision: str = "fp32",
        on_output: Callable[[LDEQOutput], None] | None = None,
    ) -> None:
        self.tracker = tracker
        self.tally = SolverTally()
        self._precision = precision
        self._on_output = on_output
        self._device = next(tracker.model.parameters()).device

    def locate(self, crops: Sequence[FaceCrop], faces: Sequence[Hashable]) -> Landmarks:
        """See :class:`Landmarker`.

        Raises:
            InputError: where the network's landmarks are not finite.
        """
        with autocast(self._device, self._precision):
            output = self.tracker.step(normalise([crop.crop for crop in crops], self._device), faces)
        self.tally.add(output)
        if self._on_output is not None:
            self._on_output(output)
        points = landmarks_of(output).astype(np.float64)
        return Landmarks(points, output.uncertainty.float().cpu().numpy().astype(np.float64))

    def restart(self, *faces: Hashable) -> None:
        """See :class:`Landmarker`."""
        self.tracker.reset(*faces)


def compare(
    landmarker: Landmarker | None, crops: Sequence[FaceCrop], faces: Sequence[Hashable]
) -> list[Landmarks | None]:
    """What another network says of the same crops, in frame pixels; nothing where there is none."""
    if landmarker is None or not crops:
        return [None] * len(crops)
    found = landmarker.locate(crops, faces)
    pairs = zip(crops, found.points, found.uncertainty, strict=True)
    return [Landmarks(crop.to_frame(points), uncertainty) for crop, points, uncertainty in pairs]


def tight_box(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(98, 2) → x1 y1 x2 y2."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def overlap(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes x1 y1 x2 y2."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    if (sides <= 0).any():
        return 0.0
    shared = float(sides.prod())
    return shared / (float((box[2:] - box[:2]).prod()) + float((other[2:] - other[:2]).prod()) - shared)
