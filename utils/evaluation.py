"""The two evaluation loops: over pictures and over videos. They know tensors and landmarks, and no data set's files."""

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ldeq import LDEQ, InputError, LDEQOutput, SolverConfig, VideoTracker
from ldeq.images import normalise
from ldeq.tracking import track
from utils.prefetch import Prefetched


def _landmarks_of(output: LDEQOutput) -> NDArray[np.float32]:
    """Keypoints (B, 98, 2) on the CPU.

    Raises:
        InputError: where they are not finite, as those of weights that overflow a half precision are.
    """
    keypoints: NDArray[np.float32] = output.keypoints.float().cpu().numpy()
    if not np.isfinite(keypoints).all():
        raise InputError("the network's landmarks are not finite, expected weights that fit the --precision")
    return keypoints


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
) -> Predictions:
    """Runs the network over a data set of (normalised image, landmarks).

    Pictures are decoded by worker processes as they are needed. Once one cannot be read the rest are only checked, so
    that a single run tells of every damaged file.
    """
    device = next(model.parameters()).device
    loader = DataLoader(
        _Checked(dataset),
        batch_size=batch_size,
        num_workers=min(workers, os.cpu_count() or 1),
        collate_fn=_collate,
    )
    predicted, truth, unreadable = [], [], []
    with torch.inference_mode():
        for images, landmarks, errors in loader:
            unreadable += errors
            if unreadable:
                continue
            output = model(images.to(device), solver_config=solver_config)
            predicted.append(_landmarks_of(output))
            truth.append(landmarks.numpy())
            on_batch(output)
    empty = np.empty((0, model.config.n_keypoints, 2), dtype=np.float32)
    return Predictions(np.concatenate([empty, *predicted]), np.concatenate([empty, *truth]), unreadable)


Checked = tuple[Tensor, Tensor] | str


class _Checked(Dataset[Checked]):
    """Items, or the sentence of what is wrong with them, since an exception would end a worker at the first."""

    def __init__(self, dataset: Dataset[tuple[Tensor, Tensor]]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Checked:
        try:
            return self.dataset[index]
        except InputError as error:
            return str(error)


def _collate(items: list[Checked]) -> tuple[Tensor, Tensor, list[str]]:
    """Images and landmarks of a batch, and its errors; where there are any, of no use otherwise."""
    errors = [item for item in items if isinstance(item, str)]
    if errors:
        return torch.empty(0), torch.empty(0), errors
    images, landmarks = zip(*items, strict=True)
    return torch.stack(images), torch.stack(landmarks), []


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
                for video, frame, points in zip(batch.streams, batch.items, _landmarks_of(batch.output), strict=True):
                    landmarks = frame.to_frame(points)
                    video.landmarks.append(landmarks)
                    on_frame(video, frame, landmarks)
            yield from batch.ended
