"""From frames to the landmarks of the faces in them: network, detector and tracking put together.

The command (:mod:`ldeq.predict`) and the function (:func:`ldeq.landmarks`) are both made of this.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ldeq.face.ahead import ahead
from ldeq.face.detectors import Detector, make_detector
from ldeq.face.given import Bboxes, GivenFaces
from ldeq.face.landmarker import Face, Landmarker
from ldeq.face.settings import TrackingSettings
from ldeq.face.tracker import FaceTracker
from ldeq.runtime.network import CountedLandmarker, Network
from ldeq.solve_settings import SolveSettings
from ldeq.video.prefetch import Lookahead, Prefetched
from ldeq.video.sources import Camera, Frame, FrameSource

#: Frames that are known before their turn, so that the detector can begin with one of them (it takes about as long as
#: the network for three frames of a face), and how many bytes they may have.
_FRAMES_AHEAD, _BYTES_AHEAD = 4, 2**26


@dataclass(frozen=True)
class Pipeline:
    """How the landmarks of faces in videos are found. One serves any number of videos, one after the other."""

    network: Network
    #: But for its ``full_first_solve``.
    settings: SolveSettings = field(default_factory=SolveSettings)
    #: Solve a face's first frame with the network's own settings. None: yes, but not where bounding boxes are given, as
    #: in the evaluation on WFLW-V.
    full_first_solve: bool | None = None
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    #: Makes the detector of a video.
    detector: Callable[[], Detector] = make_detector
    #: Called with a line on how the solver did on every batch.
    on_solve: Callable[[str], None] | None = None

    def faces(self, bboxes: Bboxes | None = None) -> "VideoFaces":
        """The faces of one video, which has yet to begin.

        Args:
            bboxes: bounding boxes in place of detection and tracking (:func:`ldeq.face.given.read_bboxes`).
        """
        full_first_solve = bboxes is None if self.full_first_solve is None else self.full_first_solve
        settings = replace(self.settings, full_first_solve=full_first_solve)
        landmarker = self.network.landmarker(settings, self.on_solve)
        if bboxes is not None:
            return VideoFaces(landmarker, GivenFaces(landmarker, bboxes))
        return VideoFaces(landmarker, FaceTracker(landmarker, ahead(self.detector()), self.tracking))

    def frame_by_frame(self) -> CountedLandmarker:
        """The same network without memory, for comparison."""
        return self.network.landmarker(replace(self.settings, rwr=False))


class VideoFaces:
    """The faces of one video, frame by frame."""

    def __init__(self, landmarker: CountedLandmarker, finder: FaceTracker | GivenFaces) -> None:
        self.landmarker = landmarker
        self._finder = finder

    def step(self, frame: Frame, upcoming: Iterable[Frame] = ()) -> list[Face]:
        """The faces of the next frame; ``upcoming`` are some that follow, if they are known, which makes it faster."""
        if isinstance(self._finder, GivenFaces):
            return self._finder.step(frame.image, frame.index)
        return self._finder.step(frame.image, [other.image for other in upcoming])

    def follow(self, frames: Lookahead[Frame]) -> Iterator[tuple[Frame, list[Face]]]:
        """Each frame with its faces."""
        for frame in frames:
            yield frame, self.step(frame, frames.upcoming)

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
def decoded_ahead(source: FrameSource) -> Iterator[Lookahead[Frame]]:
    """The frames, decoded in the background; a camera's when they are asked for, so that none is old."""
    if isinstance(source, Camera):
        yield Lookahead(iter(source), lambda frame: 0)
        return
    with ThreadPoolExecutor(1, "decode") as executor:
        frames = Prefetched(iter(source), executor, chunk=2)
        yield Lookahead(frames, lambda frame: min(_FRAMES_AHEAD, _BYTES_AHEAD // frame.image.nbytes))
