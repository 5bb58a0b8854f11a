"""From frames to the landmarks of the faces in them: network, detector and tracking put together.

The command (:mod:`ldeq.predict`) and the function (:func:`ldeq.landmarks`) are both made of this.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ldeq.face.detectors import Detector, make_detector
from ldeq.face.given import Bboxes, GivenFaces
from ldeq.face.landmarker import Face, Landmarker
from ldeq.face.settings import TrackingSettings
from ldeq.face.tracker import FaceTracker
from ldeq.model.network import LDEQ, LDEQOutput
from ldeq.recurrence import RecurrentLDEQ
from ldeq.runtime.pytorch import TorchLandmarker
from ldeq.video.prefetch import Prefetched
from ldeq.video.sources import Camera, Frame, FrameSource


@dataclass(frozen=True)
class Pipeline:
    """How the landmarks of faces in videos are found. One serves any number of videos, one after the other."""

    #: On its device (:func:`ldeq.device.load_model`).
    model: LDEQ
    precision: str = "fp32"
    #: See :class:`ldeq.RecurrentLDEQ`.
    rwr: bool = True
    rwr_max_iters: int = 1
    rwr_take_one_less_inference_step: bool = False
    stop_criterion: str | None = None
    #: Solve a face's first frame with the model's own settings. None: yes, but not where bounding boxes are given, as
    #: in the evaluation on WFLW-V.
    full_first_solve: bool | None = None
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    #: Makes the detector of a video.
    detector: Callable[[], Detector] = make_detector
    #: Called with the network's output of every batch.
    on_output: Callable[[LDEQOutput], None] | None = None

    def faces(self, bboxes: Bboxes | None = None) -> "VideoFaces":
        """The faces of one video, which has yet to begin.

        Args:
            bboxes: bounding boxes in place of detection and tracking (:func:`ldeq.face.given.read_bboxes`).
        """
        full_first_solve = bboxes is None if self.full_first_solve is None else self.full_first_solve
        network = RecurrentLDEQ(
            self.model,
            rwr=self.rwr,
            max_iters=self.rwr_max_iters,
            take_one_less_inference_step=self.rwr_take_one_less_inference_step,
            stop_criterion=self.stop_criterion,
            full_first_solve=full_first_solve,
        )
        landmarker = TorchLandmarker(network, self.precision, self.on_output)
        if bboxes is not None:
            return VideoFaces(landmarker, GivenFaces(landmarker, bboxes))
        return VideoFaces(landmarker, FaceTracker(landmarker, self.detector(), self.tracking))

    def frame_by_frame(self) -> TorchLandmarker:
        """The same network without memory, for comparison."""
        network = RecurrentLDEQ(self.model, rwr=False, stop_criterion=self.stop_criterion)
        return TorchLandmarker(network, self.precision)


class VideoFaces:
    """The faces of one video, frame by frame."""

    def __init__(self, landmarker: TorchLandmarker, finder: FaceTracker | GivenFaces) -> None:
        self.landmarker = landmarker
        self._finder = finder

    def step(self, frame: Frame) -> list[Face]:
        """The faces of the next frame."""
        if isinstance(self._finder, GivenFaces):
            return self._finder.step(frame.image, frame.index)
        return self._finder.step(frame.image)

    @property
    def n_cuts(self) -> int | None:
        """Shot changes so far; None where bounding boxes are given."""
        return self._finder.n_cuts if isinstance(self._finder, FaceTracker) else None


def solved_again(landmarker: Landmarker, faces: list[Face]) -> list[Face]:
    """The same faces as another landmarker finds them in the same crops."""
    if not faces:
        return []
    found = landmarker.locate([face.crop for face in faces], [face.id for face in faces])
    return [
        replace(face, landmarks=face.crop.to_frame(points), uncertainty=uncertainty)
        for face, points, uncertainty in zip(faces, found.points, found.uncertainty, strict=True)
    ]


@contextmanager
def decoded_ahead(source: FrameSource) -> Iterator[Iterator[Frame]]:
    """The frames, decoded in the background; a camera's when they are asked for, so that none is old."""
    if isinstance(source, Camera):
        yield iter(source)
        return
    with ThreadPoolExecutor(1, "decode") as executor:
        yield Prefetched(iter(source), executor, chunk=2)
