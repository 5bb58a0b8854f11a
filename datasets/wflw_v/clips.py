"""WFLW-V: 1,000 annotated face videos, 500 easy and 500 hard.

``<root>/<split>_video_IDs.txt``, ``<root>/bboxes/<id>.npy`` (frames, ≥ 4), ``<root>/landmarks/<id>.npy``
(frames, 98, 2) and ``<root>/videos/<id>.mp4``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets.wflw_v.splits import SPLITS
from ldeq import InputError
from ldeq.face.crop import FARTHEST, FaceCrop, are_boxes, crop, crop_matrix
from ldeq.files import is_file_name, read_array, read_lines, written_whole
from ldeq.landmarks98 import N_LANDMARKS, OUTER_EYE_CORNERS
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter

#: No face, and no distance of its outer eye corners, is as small in frame pixels.
_SMALLEST = 1e-3


class UnusableVideo(InputError):
    """A video that is missing, cannot be decoded or is too short: what happens to videos on the web."""


@dataclass(frozen=True)
class FaceFrame(FaceCrop):
    """A face crop and the frame that it was cut out of."""

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
    def bboxes_path(self) -> Path:
        return self.root / "bboxes" / f"{self.id}.npy"

    @property
    def landmarks_path(self) -> Path:
        return self.root / "landmarks" / f"{self.id}.npy"

    @property
    def bboxes(self) -> NDArray[np.float64]:
        """The bboxes of all frames, (frames, 4): x1, y1, x2, y2 in frame pixels."""
        path = self.bboxes_path
        bboxes = _read_annotation(path)
        if bboxes.ndim != 2 or bboxes.shape[1] < 4:
            raise InputError(f"{path}: has shape {bboxes.shape}, expected (frames, 4 or more)")
        bboxes = bboxes[:, :4]
        _check_frames(path, are_boxes(bboxes), "a bbox in frame pixels of at least a pixel")
        return bboxes

    @property
    def landmarks(self) -> NDArray[np.float64]:
        """The annotated landmarks of all frames, (frames, 98, 2) in frame pixels."""
        path = self.landmarks_path
        points = _read_annotation(path)
        if points.ndim != 3 or points.shape[1:] != (N_LANDMARKS, 2):
            raise InputError(f"{path}: has shape {points.shape}, expected (frames, {N_LANDMARKS}, 2)")
        if len(points) < 2:
            raise InputError(f"{path}: has {len(points)} frames, expected at least 2 (flicker is between frames)")
        _check_frames(path, (np.abs(points) < FARTHEST).all(axis=(1, 2)), "landmarks in frame pixels")
        one, other = OUTER_EYE_CORNERS
        eyes = np.linalg.norm(points[:, one] - points[:, other], axis=-1)
        _check_frames(path, eyes > _SMALLEST, "outer eye corners (60, 72) that differ")
        _check_frames(path, (np.ptp(points, axis=1) > _SMALLEST).all(axis=1), "a face with an extent")
        return points

    def check_annotations(self) -> int:
        """The number of annotated frames.

        Raises:
            InputError: where the annotations are missing, invalid or of different lengths.
        """
        n_bboxes, n_frames = len(self.bboxes), len(self.landmarks)
        if n_bboxes != n_frames:
            where = f"{self.bboxes_path} and {self.landmarks_path}"
            raise InputError(f"{where}: have {n_bboxes} and {n_frames} frames, expected as many in both")
        return n_frames

    def read_fps(self) -> float:
        """Frames per second of the video file."""
        with VideoReader(self.video_path) as video:
            return video.fps

    def frames(self, keep_frames: bool = False) -> Iterator[FaceFrame]:
        """Decodes and crops the annotated frames one by one; later frames of the video are not read.

        Args:
            keep_frames: give the whole frames as well.

        Raises:
            UnusableVideo: where the video is missing, cannot be opened, is damaged, or ends before its annotations do.
        """
        bboxes = self.bboxes
        try:
            video = VideoReader(self.video_path)
        except InputError as error:
            raise UnusableVideo(str(error)) from None
        with video:
            n_decoded = 0
            for bbox, frame in zip(bboxes, video, strict=False):
                self._check_whole(video)
                matrix = crop_matrix(bbox)
                yield FaceFrame(crop(frame, matrix), matrix, frame if keep_frames else None)
                n_decoded += 1
            self._check_whole(video)
        if n_decoded < len(bboxes):
            raise UnusableVideo(
                f"{self.video_path}: has {n_decoded} frames, expected {len(bboxes)} as its annotations have"
            )

    def _check_whole(self, video: VideoReader) -> None:
        damage = video.damage()
        if damage is not None:  # landmarks on what a decoder made up are no measurement
            raise UnusableVideo(f"{self.video_path}: {damage}, expected a whole video")


class WFLWVDataset:
    """The clips of a split, in the order of its id list. Annotations are checked when the data set is made.

    Args:
        root: the data set's folder.
        split: ``hard``, ``easy`` or ``all`` (hard, then easy).
        ids: only these videos of the split; None is all.

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
    """The file of a split's id list."""
    return root / f"{split}_video_IDs.txt"


def read_ids(root: Path, split: str) -> list[str]:
    """The ids of ``<root>/<split>_video_IDs.txt``, one a line; they may begin with '-'.

    Raises:
        InputError: where the list is missing, empty, repeats an id or has one that is no file name.
    """
    path = ids_path(root, split)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected the split's list of video ids")
    seen: dict[str, int] = {}
    for number, line in enumerate(read_lines(path, "expected an id a line"), 1):
        id = line.strip()
        if not id:
            continue
        if id in seen:
            raise InputError(f"{path}, line {number}: repeats {id} of line {seen[id]}, expected every id once")
        if not is_file_name(id):
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
        frames: of each frame its image (H, W, 3) uint8 RGB, its landmarks (98, 2) in frame pixels, and its bbox (≥ 4,),
            which begins with x1, y1, x2, y2 in frame pixels.
        fps: frames a second.
        crf: quality of the H.264 file, 0 (lossless) to 51.
    """
    writer = VideoWriter(root / "videos" / f"{id}.mp4", fps, crf=crf)
    landmarks, bboxes = [], []
    for image, points, bbox in frames:
        writer.write(image)
        landmarks.append(points)
        bboxes.append(bbox)
    writer.close()
    clip = Clip(root, id)
    for path, values in ((clip.bboxes_path, bboxes), (clip.landmarks_path, landmarks)):
        with written_whole(path) as temporary:
            np.save(temporary, np.array(values))


def write_ids(root: Path, split: str, ids: Iterable[str]) -> None:
    """Writes a split's id list."""
    with written_whole(ids_path(root, split)) as temporary:
        temporary.write_text("".join(f"{id}\n" for id in ids), encoding="utf-8")


def _read_annotation(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected annotations of a video in the id list")
    return read_array(path)


def _check_frames(path: Path, holds: ArrayLike, expected: str) -> None:
    """Raises InputError for the first frame of which the condition ``holds`` (frames,) is false."""
    if not np.all(holds):
        raise InputError(f"{path}: frame {int(np.argmin(holds))} lacks {expected}")
