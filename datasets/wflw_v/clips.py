"""WFLW-V: 1,000 annotated face videos, 500 easy and 500 hard.

``<root>/<split>_video_IDs.txt``, ``<root>/bboxes/<id>.npy`` (frames, ≥ 4), ``<root>/landmarks/<id>.npy``
(frames, 98, 2) and ``<root>/videos/<id>.mp4``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldeq import InputError
from ldeq.errors import reason_of
from ldeq.face.crop import FARTHEST, FaceCrop, are_boxes, crop, crop_matrix
from ldeq.files import written_whole
from ldeq.landmarks98 import N_LANDMARKS, OUTER_EYE_CORNERS
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter

SPLITS = ("hard", "easy")
#: No face in frame pixels is as small.
SMALLEST = 1e-3


class UnusableVideo(InputError):
    """A video that is missing, cannot be decoded or is too short: what happens to videos on the web."""


@dataclass(frozen=True)
class FaceFrame(FaceCrop):
    """A face in a frame."""

    #: The whole frame (H, W, 3) uint8 RGB, where it was asked for.
    frame: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Clip:
    """One annotated video. Nothing of it is in memory until it is asked for.

    Raises:
        InputError: from :attr:`bboxes` and :attr:`landmarks`, where an annotation file is missing or invalid.
    """

    root: Path
    id: str

    @property
    def video_path(self) -> Path:
        return self.root / "videos" / f"{self.id}.mp4"

    @property
    def bboxes(self) -> NDArray[np.float64]:
        """(frames, 4), x1 y1 x2 y2 in frame pixels."""
        path = self.root / "bboxes" / f"{self.id}.npy"
        boxes = _load_annotation(path)
        if boxes.ndim != 2 or boxes.shape[1] < 4:
            raise InputError(f"{path}: has shape {boxes.shape}, expected (frames, 4 or more)")
        boxes = boxes[:, :4]
        _check_frames(path, are_boxes(boxes), "a box in frame pixels of at least a pixel")
        return boxes

    @property
    def landmarks(self) -> NDArray[np.float64]:
        """(frames, 98, 2) in frame pixels."""
        path = self.root / "landmarks" / f"{self.id}.npy"
        points = _load_annotation(path)
        if points.ndim != 3 or points.shape[1:] != (N_LANDMARKS, 2):
            raise InputError(f"{path}: has shape {points.shape}, expected (frames, {N_LANDMARKS}, 2)")
        if len(points) < 2:
            raise InputError(f"{path}: has {len(points)} frames, expected at least 2 (flicker is between frames)")
        _check_frames(path, (np.abs(points) < FARTHEST).all(axis=(1, 2)), "landmarks in frame pixels")
        one, other = OUTER_EYE_CORNERS
        eyes = np.linalg.norm(points[:, one] - points[:, other], axis=-1)
        _check_frames(path, eyes > SMALLEST, "outer eye corners (60, 72) that differ")
        _check_frames(path, (np.ptp(points, axis=1) > SMALLEST).all(axis=1), "a face with an extent")
        return points

    def check_annotations(self) -> int:
        """The number of annotated frames.

        Raises:
            InputError: where the annotations are missing, invalid or of different lengths.
        """
        n_boxes, n_frames = len(self.bboxes), len(self.landmarks)
        if n_boxes != n_frames:
            where = f"{self.root / 'bboxes' / self.id}.npy and {self.root / 'landmarks' / self.id}.npy"
            raise InputError(f"{where}: have {n_boxes} and {n_frames} frames, expected as many in both")
        return n_frames

    def read_fps(self) -> float:
        """Frames per second of the video file."""
        with VideoReader(self.video_path) as video:
            return video.fps

    def frames(self, keep_frames: bool = False) -> Iterator[FaceFrame]:
        """Decodes and crops the annotated frames one by one; what the video has beyond them is not read.

        Raises:
            UnusableVideo: where the video is missing, cannot be opened, or ends before its annotations do.
        """
        boxes = self.bboxes
        try:
            video = VideoReader(self.video_path)
        except InputError as error:
            raise UnusableVideo(str(error)) from None
        with video:
            n_decoded = 0
            for box, frame in zip(boxes, video, strict=False):
                matrix = crop_matrix(box)
                yield FaceFrame(crop(frame, matrix), matrix, frame if keep_frames else None)
                n_decoded += 1
        if n_decoded < len(boxes):
            raise UnusableVideo(
                f"{self.video_path}: has {n_decoded} frames, expected {len(boxes)} as its annotations have"
            )


class WFLWVDataset:
    """The clips of a split, in the order of its id list. Annotations are checked when the data set is made.

    Args:
        root: the data set's folder.
        split: ``hard``, ``easy`` or ``all`` (hard, then easy).
        ids: only these videos of the split.

    Raises:
        InputError: where an id list or an annotation is missing or invalid, or one of ``ids`` is not in the split.
    """

    def __init__(self, root: str | Path, split: str, ids: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        self.split = split
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder, expected WFLW-V (bboxes, landmarks, videos and id lists)")
        names = SPLITS if split == "all" else (split,)
        listed = list(dict.fromkeys(id for name in names for id in read_ids(self.root, name)))
        unknown = [id for id in ids or () if id not in listed]
        if unknown:
            raise InputError(
                f"{', '.join(unknown)}: not in the {split} id list of {self.root}, expected ids that it has"
            )
        self.clips = [Clip(self.root, id) for id in listed if ids is None or id in ids]
        #: Number of annotated frames by id.
        self.lengths = {clip.id: clip.check_annotations() for clip in self.clips}


def ids_path(root: Path, split: str) -> Path:
    """Where a split's list is."""
    return root / f"{split}_video_IDs.txt"


def read_ids(root: Path, split: str) -> list[str]:
    """The ids of ``<root>/<split>_video_IDs.txt``, one a line; they may begin with '-'.

    Raises:
        InputError: where the list is missing, empty, repeats an id or has one that is no file name.
    """
    path = ids_path(root, split)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected the split's list of video ids")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}), expected an id a line") from None
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        id = line.strip()
        if not id:
            continue
        if id in seen:
            raise InputError(f"{path}, line {number}: repeats {id} of line {seen[id]}, expected every id once")
        if "/" in id or "\\" in id or id in (".", ".."):
            raise InputError(f"{path}, line {number}: {id!r} cannot be a file name, expected a video id")
        seen[id] = number
    if not seen:
        raise InputError(f"{path}: is empty, expected an id a line")
    return list(seen)


def write_clip(
    root: Path,
    id: str,
    frames: Iterable[tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]],
    *,
    fps: float,
    crf: int,
) -> None:
    """Writes a clip's video and its annotations, the landmarks last: a clip that has them is complete.

    Args:
        root: folder of the data set.
        frames: image (H, W, 3) RGB, landmarks (98, 2) and box (≥ 4,) of each, in frame pixels.
        fps: frames a second.
        crf: quality of the H.264 file, 0 (lossless) to 51.
    """
    writer = VideoWriter(root / "videos" / f"{id}.mp4", fps, crf=crf)
    landmarks, boxes = [], []
    for image, points, box in frames:
        writer.write(image)
        landmarks.append(points)
        boxes.append(box)
    writer.close()
    for folder, values in (("bboxes", boxes), ("landmarks", landmarks)):
        with written_whole(root / folder / f"{id}.npy") as temporary:
            np.save(temporary, np.array(values))


def write_ids(root: Path, split: str, ids: Iterable[str]) -> None:
    """Writes a split's list."""
    with written_whole(ids_path(root, split)) as temporary:
        temporary.write_text("".join(f"{id}\n" for id in ids), encoding="utf-8")


def _load_annotation(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected annotations of a video in the id list")
    try:
        values = np.load(path, allow_pickle=False)
        if values.dtype.kind not in "iuf":
            raise ValueError(f"elements of type {values.dtype}")
        return np.asarray(values, dtype=np.float64)
    except Exception as error:  # NumPy raises whatever the damage in the file leads to
        raise InputError(f"{path}: cannot be read ({reason_of(error)}), expected a NumPy array of numbers") from None


def _check_frames(path: Path, holds: ArrayLike, expected: str) -> None:
    if not np.all(holds):
        raise InputError(f"{path}: frame {int(np.argmin(holds))} lacks {expected}")
