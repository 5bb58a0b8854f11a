"""The two evaluation loops: over images and over videos. They know arrays and landmarks, and no data set's files."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ldeq import LDEQ, InputError, LDEQOutput, SolverConfig
from ldeq.face.crop import FaceCrop
from ldeq.face.landmarker import CropLandmarks, Landmarker
from ldeq.model.normalisation import normalise
from ldeq.recurrence import step_streams
from ldeq.solver_tally import SolverTally
from ldeq.video.prefetch import Prefetched

#: An image (S, S, 3) uint8 RGB and its landmarks (98, 2) float32, fractions of its side.
Sample = tuple[NDArray[np.uint8], NDArray[np.float32]]


class Samples(Protocol):
    """A data set of images with landmarks."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


# -- images ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """Landmarks of a data set's images, in its order; fractions of the image's side."""

    predicted: NDArray[np.float32]  # (N, 98, 2)
    truth: NDArray[np.float32]  # (N, 98, 2)
    #: Images that could not be read, each with its sentence; if there are any the arrays are incomplete.
    unreadable: list[str]
    #: Of the images' solves.
    tally: SolverTally = field(default_factory=SolverTally)


def predict_images(
    model: LDEQ,
    dataset: Samples,
    *,
    solver_config: SolverConfig | None = None,
    batch_size: int = 32,
    workers: int = 4,
    on_batch: Callable[[LDEQOutput], None] = lambda output: None,
    only_check: bool = False,
) -> Predictions:
    """Runs the network over a data set.

    Images are decoded by ``workers`` threads a batch ahead (0: when they are needed). Once one cannot be read the
    rest are only checked, so that a single run tells of every damaged file.

    Args:
        only_check: do not run the network at all.
    """
    device = next(model.parameters()).device
    predicted, truth, unreadable = [], [], []
    tally = SolverTally()
    with torch.inference_mode():
        loaded = _load_ahead(dataset, workers, ahead=batch_size)
        while items := list(islice(loaded, batch_size)):
            unreadable += [str(item) for item in items if isinstance(item, InputError)]
            if unreadable or only_check:
                continue
            images, landmarks = zip(*(item for item in items if not isinstance(item, InputError)), strict=True)
            output = model(normalise(np.stack(images), device), solver_config=solver_config).on_host()
            predicted.append(output.finite_keypoints())
            truth.append(np.stack(landmarks))
            tally.add(output.stats)
            on_batch(output)
    empty = np.empty((0, model.config.n_keypoints, 2), dtype=np.float32)
    return Predictions(np.concatenate([empty, *predicted]), np.concatenate([empty, *truth]), unreadable, tally)


def _load_ahead(dataset: Samples, workers: int, ahead: int) -> Iterator[Sample | InputError]:
    """The items in order, or what is wrong with them, at most ``ahead`` of them made before they are asked for."""

    def load(index: int) -> Sample | InputError:
        try:
            return dataset[index]
        except InputError as error:
            return error

    indices = range(len(dataset))
    if workers == 0:
        yield from map(load, indices)
        return
    with ThreadPoolExecutor(workers, "load") as pool:
        pending: deque[Future[Sample | InputError]] = deque()
        for index in indices:
            pending.append(pool.submit(load, index))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


# -- videos ------------------------------------------------------------------------------------------------------------

ClipT = TypeVar("ClipT")
FrameT = TypeVar("FrameT", bound=FaceCrop)


@dataclass(eq=False)
class TrackedVideo(Generic[ClipT]):
    """A clip while it is tracked and when it is done."""

    clip: ClipT
    #: One (98, 2) a frame, in frame pixels.
    landmarks: list[NDArray[np.float64]] = field(default_factory=list)
    #: Of its frames' solves.
    tally: SolverTally = field(default_factory=SolverTally)
    #: Why the video could not be followed to its end.
    failure: InputError | None = None


class _Streams:
    """A landmarker as :func:`step_streams` takes it."""

    def __init__(self, landmarker: Landmarker) -> None:
        self.step = landmarker.locate
        self.reset = landmarker.restart


def _ignore(*arguments: object) -> None:
    pass


def track_videos(
    landmarker: Landmarker,
    clips: Iterable[ClipT],
    frames_of: Callable[[ClipT], Iterator[FrameT]],
    *,
    batch_size: int = 5,
    workers: int = 8,
    on_frame: Callable[[TrackedVideo[ClipT], FrameT, NDArray[np.float64]], None] = _ignore,
    on_batch: Callable[[CropLandmarks], None] = _ignore,
) -> Iterator[TrackedVideo[ClipT]]:
    """Tracks one face in each of many videos, ``batch_size`` of them at a time, and gives each when it is done.

    Frames are decoded and cropped ahead by ``workers`` threads (0: when they are needed), a few of each video in the
    batch and of the one that follows; no video is held whole. A video that cannot be read to its end is given with its
    ``failure``.

    Args:
        landmarker: the network, with its memory of each video.
        frames_of: a clip's crops, in order; what they carry besides is for ``on_frame``.
        on_frame: called for every frame, with the video, the frame and its landmarks (98, 2) in frame pixels.
    """
    network = _Streams(landmarker)
    with ThreadPoolExecutor(workers, "decode") if workers else nullcontext() as executor:
        opened: dict[TrackedVideo[ClipT], Prefetched[FrameT]] = {}

        def open_ahead() -> Iterator[TrackedVideo[ClipT]]:
            """Each video after the one behind it has begun to be decoded."""
            behind: TrackedVideo[ClipT] | None = None
            for clip in clips:
                video = TrackedVideo(clip)
                opened[video] = Prefetched(frames_of(clip), executor)
                if behind is not None:
                    yield behind
                behind = video
            if behind is not None:
                yield behind

        def frames_of_video(video: TrackedVideo[ClipT]) -> Iterator[FrameT]:
            try:
                yield from opened.pop(video)
            except InputError as error:
                video.failure = error

        for batch in step_streams(network, open_ahead(), frames_of_video, list, batch_size):
            if batch.output is not None:
                on_batch(batch.output)
                for video, frame, points in zip(batch.streams, batch.items, batch.output.points, strict=True):
                    landmarks = frame.to_frame(points)
                    video.landmarks.append(landmarks)
                    on_frame(video, frame, landmarks)
                for video, solve in zip(batch.streams, batch.output.solves, strict=bool(batch.output.solves)):
                    video.tally.merge(solve)
            yield from batch.ended
