"""The two evaluation loops: over images and over videos. They know arrays and landmarks, and no data set's files."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ldeq import LDEQ, InputError, LDEQOutput, SolverConfig
from ldeq.face.crop import FaceCrop
from ldeq.face.landmarker import CropLandmarks, Landmarker
from ldeq.landmarks98 import N_LANDMARKS
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
class ImageBatch:
    """The images ``start`` to ``stop`` of a data set, which go through the network together."""

    dataset: Samples
    start: int
    stop: int


def image_batches(dataset: Samples, batch_size: int) -> list[ImageBatch]:
    """The batches of a whole data set."""
    n = len(dataset)
    return [ImageBatch(dataset, start, min(start + batch_size, n)) for start in range(0, n, batch_size)]


@dataclass(frozen=True)
class Predictions:
    """Landmarks of images, in the data set's order; fractions of the image's side."""

    predicted: NDArray[np.float32]  # (N, 98, 2)
    truth: NDArray[np.float32]  # (N, 98, 2)
    #: Images that could not be read, each with its sentence; if there are any the arrays are incomplete.
    unreadable: list[str]
    #: Of the images' solves.
    tally: SolverTally = field(default_factory=SolverTally)

    @classmethod
    def joined(cls, parts: Iterable["Predictions"]) -> "Predictions":
        """Those of all parts, in the order given."""
        parts = list(parts)
        empty = np.empty((0, N_LANDMARKS, 2), dtype=np.float32)
        return cls(
            np.concatenate([empty, *(part.predicted for part in parts)]),
            np.concatenate([empty, *(part.truth for part in parts)]),
            [sentence for part in parts for sentence in part.unreadable],
            SolverTally.total(part.tally for part in parts),
        )


def predict_images(
    model: LDEQ,
    dataset: Samples,
    *,
    batch_size: int = 32,
    workers: int = 4,
    on_batch: Callable[[LDEQOutput], None] = lambda output: None,
) -> Predictions:
    """Runs the network over a data set, as :func:`predict_batches` does."""
    parts = []
    batches = image_batches(dataset, batch_size)
    for _, found, output in predict_batches(model, batches, workers=workers):
        parts.append(found)
        if output is not None:
            on_batch(output)
    return Predictions.joined(parts)


def predict_batches(
    model: LDEQ,
    batches: Iterable[ImageBatch],
    *,
    solver_config: SolverConfig | None = None,
    workers: int = 4,
    only_check: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[ImageBatch, Predictions, LDEQOutput | None]]:
    """Runs the network over batches of images, and gives what it predicts of each, and its whole output if it ran.

    Images are decoded by ``workers`` threads a batch ahead (0: when they are needed). Once one cannot be read the
    rest are only checked, so that a single run tells of every damaged file.

    Args:
        batches: taken one by one, one ahead.
        only_check: asked before each batch: true where the network is not to run any more.
    """
    device = next(model.parameters()).device
    spoilt = False
    for batch, items in _load_ahead(batches, workers):
        unreadable = [str(item) for item in items if isinstance(item, InputError)]
        spoilt = spoilt or bool(unreadable) or only_check()
        if spoilt:
            yield batch, replace(Predictions.joined([]), unreadable=unreadable), None
            continue
        images, landmarks = zip(*(item for item in items if not isinstance(item, InputError)), strict=True)
        with torch.inference_mode():
            output = model(normalise(np.stack(images), device), solver_config=solver_config).on_host()
            points = output.finite_keypoints()
        tally = SolverTally()
        tally.add(output.stats)
        yield batch, Predictions(points, np.stack(landmarks), [], tally), output


def _load_ahead(batches: Iterable[ImageBatch], workers: int) -> Iterator[tuple[ImageBatch, list[Sample | InputError]]]:
    """The batches with their items, or what is wrong with them; the items of the next one are being made meanwhile."""

    def load(dataset: Samples, index: int) -> Sample | InputError:
        try:
            return dataset[index]
        except InputError as error:
            return error

    if workers == 0:
        for batch in batches:
            yield batch, [load(batch.dataset, index) for index in range(batch.start, batch.stop)]
        return
    with ThreadPoolExecutor(workers, "load") as pool:
        pending: deque[tuple[ImageBatch, list[Future[Sample | InputError]]]] = deque()
        for batch in batches:
            loading = [pool.submit(load, batch.dataset, index) for index in range(batch.start, batch.stop)]
            pending.append((batch, loading))
            if len(pending) > 1:
                before, loaded = pending.popleft()
                yield before, [item.result() for item in loaded]
        for before, loaded in pending:
            yield before, [item.result() for item in loaded]


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
