"""The two evaluation loops: over pictures and over videos. They know tensors and landmarks, and no data set's files."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ldeq import LDEQ, InputError, LDEQOutput, SolverConfig, VideoTracker
from ldeq.images import normalise
from ldeq.solvers import StopReason
from ldeq.tracking import track
from utils.prefetch import Prefetched


def landmarks_of(output: LDEQOutput) -> NDArray[np.float32]:
    """Keypoints (B, 98, 2) on the CPU.

    Raises:
        InputError: where they are not finite, as those of weights that overflow a half precision are.
    """
    keypoints: NDArray[np.float32] = output.keypoints.float().cpu().numpy()
    if not np.isfinite(keypoints).all():
        raise InputError("the network's landmarks are not finite, expected weights that fit the --precision")
    return keypoints


@dataclass
class SolverTally:
    """How the solver did over a run."""

    n_solved: int = 0
    n_converged: int = 0
    #: Samples that ended at the best iterate before one that was not finite, or at z0 where there was none.
    n_not_finite: int = 0
    n_iters: int = 0

    def add(self, output: LDEQOutput) -> None:
        """Counts a batch; explicit mode has nothing to count."""
        for sample in self.of_samples(output):
            self.merge(sample)

    @classmethod
    def of_samples(cls, output: LDEQOutput) -> "list[SolverTally]":
        """One for each sample of a batch."""
        if output.stats is None:
            return [cls() for _ in output.keypoints]
        solves = zip(output.stats.stop_reason.tolist(), output.stats.n_iters.tolist(), strict=True)
        return [
            cls(1, int(reason == StopReason.CONVERGED), int(reason == StopReason.NON_FINITE), n_iters)
            for reason, n_iters in solves
        ]

    def merge(self, other: "SolverTally") -> None:
        """Adds another's counts."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)

    def check(self) -> str | None:
        """A warning where some solves were not finite.

        Raises:
            InputError: where none was.
        """
        if self.n_not_finite == 0:
            return None
        if self.n_not_finite == self.n_solved:
            raise InputError("no solve stayed finite, expected weights that fit the --precision")
        return (
            f"{self.n_not_finite} of {self.n_solved} solves met numbers that are not finite: their landmarks are poor."
        )

    def summary(self) -> dict[str, float | int | None]:
        """For results.json."""
        mean = self.n_iters / self.n_solved if self.n_solved else None
        counts = {"n_solved": self.n_solved, "n_converged": self.n_converged, "n_not_finite": self.n_not_finite}
        return {**counts, "mean_n_iters": mean}


# -- pictures ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """Landmarks of a data set's pictures, in its order; fractions of the picture's side."""

    predicted: NDArray[np.float32]  # (N, 98, 2)
    truth: NDArray[np.float32]  # (N, 98, 2)
    #: Pictures that could not be read, each with its sentence; if there are any the arrays are incomplete.
    unreadable: list[str]


def predict_pictures(
    model: LDEQ,
    dataset: Dataset[tuple[Tensor, Tensor]],
    *,
    solver_config: SolverConfig | None = None,
    batch_size: int = 32,
    workers: int = 4,
    on_batch: Callable[[LDEQOutput], None] = lambda output: None,
    only_check: bool = False,
) -> Predictions:
    """Runs the network over a data set of (normalised image, landmarks).

    Pictures are decoded by ``workers`` threads a batch ahead (0: when they are needed). Once one cannot be read the
    rest are only checked, so that a single run tells of every damaged file.

    Args:
        only_check: do not run the network at all.
    """
    device = next(model.parameters()).device
    predicted, truth, unreadable = [], [], []
    with torch.inference_mode():
        loaded = _load_ahead(dataset, workers, ahead=batch_size)
        while items := list(islice(loaded, batch_size)):
            unreadable += [str(item) for item in items if isinstance(item, InputError)]
            if unreadable or only_check:
                continue
            images, landmarks = zip(*(item for item in items if not isinstance(item, InputError)), strict=True)
            output = model(torch.stack(images).to(device), solver_config=solver_config)
            predicted.append(landmarks_of(output))
            truth.append(torch.stack(landmarks).numpy())
            on_batch(output)
    empty = np.empty((0, model.config.n_keypoints, 2), dtype=np.float32)
    return Predictions(np.concatenate([empty, *predicted]), np.concatenate([empty, *truth]), unreadable)


def _load_ahead(
    dataset: Dataset[tuple[Tensor, Tensor]], workers: int, ahead: int
) -> Iterator[tuple[Tensor, Tensor] | InputError]:
    """The items in order, or what is wrong with them, at most ``ahead`` of them made before they are asked for."""

    def load(index: int) -> tuple[Tensor, Tensor] | InputError:
        try:
            return dataset[index]
        except InputError as error:
            return error

    indices = range(len(dataset))  # type: ignore[arg-type]
    if workers == 0:
        yield from map(load, indices)
        return
    with ThreadPoolExecutor(workers, "load") as pool:
        pending: deque[Future[tuple[Tensor, Tensor] | InputError]] = deque()
        for index in indices:
            pending.append(pool.submit(load, index))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


# -- videos ------------------------------------------------------------------------------------------------------------


class Frame(Protocol):
    """A face in a frame, as :class:`datasets.wflw_v.FaceFrame` is."""

    @property
    def crop(self) -> NDArray[np.uint8]: ...
    def to_frame(self, keypoints: NDArray[np.floating]) -> NDArray[np.float64]: ...


FrameT = TypeVar("FrameT", bound=Frame)
FrameT_co = TypeVar("FrameT_co", bound=Frame, covariant=True)


class Clip(Hashable, Protocol[FrameT_co]):
    """A video of one face, as :class:`datasets.wflw_v.Clip` is."""

    def frames(self, keep_frames: bool = False) -> Iterator[FrameT_co]: ...


ClipT = TypeVar("ClipT", bound=Hashable)


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


OnFrame = Callable[[TrackedVideo[Any], Any, NDArray[np.float64]], None]


def track_videos(
    tracker: VideoTracker,
    clips: Iterable[Any],
    *,
    batch_size: int = 5,
    workers: int = 8,
    keep_frames: bool = False,
    on_frame: OnFrame = lambda video, frame, landmarks: None,
    on_batch: Callable[[LDEQOutput], None] = lambda output: None,
) -> Iterator[TrackedVideo[Any]]:
    """Tracks many videos (each a :class:`Clip`), ``batch_size`` at a time, and gives each when it is done.

    Frames are decoded and cropped ahead by ``workers`` threads (0: when they are needed), a few of each video in the
    batch and of the one that follows; no video is held whole. A video that cannot be read to its end is given with its
    ``failure``.

    Args:
        keep_frames: frames carry the whole picture as well as the crop.
        on_frame: called for every frame, with the video, the frame and its landmarks (98, 2) in frame pixels.
    """
    device = next(tracker.model.parameters()).device

    def collate(frames: list[Frame]) -> Tensor:
        return normalise([frame.crop for frame in frames], device)

    with ThreadPoolExecutor(workers, "decode") if workers else nullcontext() as executor:
        opened: dict[TrackedVideo[Any], Prefetched[Any]] = {}

        def open_ahead() -> Iterator[TrackedVideo[Any]]:
            """Each video after the one behind it has begun to be decoded."""
            behind: TrackedVideo[Any] | None = None
            for clip in clips:
                video = TrackedVideo(clip)
                opened[video] = Prefetched(clip.frames(keep_frames), executor)
                if behind is not None:
                    yield behind
                behind = video
            if behind is not None:
                yield behind

        def frames_of(video: TrackedVideo[Any]) -> Iterator[Any]:
            try:
                yield from opened.pop(video)
            except InputError as error:
                video.failure = error

        for batch in track(tracker, open_ahead(), frames_of, collate, batch_size):
            if batch.output is not None:
                on_batch(batch.output)
                found, tallies = landmarks_of(batch.output), SolverTally.of_samples(batch.output)
                for video, frame, points, tally in zip(batch.streams, batch.items, found, tallies, strict=True):
                    landmarks = frame.to_frame(points)
                    video.landmarks.append(landmarks)
                    video.tally.merge(tally)
                    on_frame(video, frame, landmarks)
            yield from batch.ended
