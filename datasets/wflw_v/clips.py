"""WFLW-V: 1,000 annotated face videos, 500 easy and 500 hard.

``<root>/bboxes/<id>.npy`` (frames, ≥ 4), ``<root>/landmarks/<id>.npy`` (frames, 98, 2), ``<root>/videos/<id>.mp4`` and,
where the folder has id lists of its own, ``<root>/<split>_video_IDs.txt``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets.wflw_v.ids import find_wflw_v, split_ids
from ldeq import InputError
from ldeq.face.crop import FARTHEST, FaceCrop, are_boxes, crop, crop_matrix
from ldeq.files import read_array, sha256_of_bytes, written_whole
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
        return len(self.annotations()[0])

    def annotations(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """:attr:`bboxes` and :attr:`landmarks`.

        Raises:
            InputError: where they are missing, invalid or of different lengths.
        """
        bboxes, landmarks = self.bboxes, self.landmarks
        if len(bboxes) != len(landmarks):
            where = f"{self.bboxes_path} and {self.landmarks_path}"
            raise InputError(f"{where}: have {len(bboxes)} and {len(landmarks)} frames, expected as many in both")
        return bboxes, landmarks

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
            raise UnusableVideo(f"{error}{self._files_of_other_kinds()}") from None
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

    def _files_of_other_kinds(self) -> str:
        """For the end of a message about a missing video: what there is of its name."""
        path = self.video_path
        if path.is_file() or not path.parent.is_dir():
            return ""
        there = sorted(file.name for file in path.parent.iterdir() if file.stem == self.id)
        return f" (there is {', '.join(there)}, which is another kind of file)" if there else ""


class WFLWVDataset:
    """The clips of a split, in the order of its id list. Annotations are checked when the data set is made.

    Args:
        root: the data set's folder, or one that has it in it.
        split: ``hard``, ``easy``, or ``all``, as of :func:`datasets.wflw_v.ids.split_ids`.
        ids: only these videos of the split; None is all.

    Raises:
        InputError: where an id list or an annotation is missing or invalid, or one of ``ids`` is not in the split.
    """

    def __init__(self, root: str | Path, split: str, ids: Sequence[str] | None = None) -> None:
        self.root = find_wflw_v(root)
        self.split = split
        listing = split_ids(self.root, split)
        unknown = [id for id in ids or () if id not in listing.ids and id not in listing.lacking]
        if unknown:
            raise InputError(
                f"{', '.join(unknown)}: not in the {split} id list of {self.root}, expected ids that it has"
            )
        self.clips = [Clip(self.root, id) for id in listing.ids if ids is None or id in ids]
        #: Videos that the data set lacks annotations of, with the reason.
        self.lacking = {id: reason for id, reason in listing.lacking.items() if ids is None or id in ids}
        #: Number of annotated frames by id, and the SHA-256 of their annotations' numbers.
        self.lengths: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        for clip in self.clips:
            bboxes, landmarks = clip.annotations()
            self.lengths[clip.id] = len(landmarks)
            self.digests[clip.id] = digest_of(bboxes, landmarks)


def digest_of(bboxes: NDArray[np.float64], landmarks: NDArray[np.float64]) -> str:
    """The SHA-256 of a clip's annotations: of their numbers, whatever files they are in."""
    return sha256_of_bytes(landmarks.tobytes() + bboxes.tobytes())


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


def _read_annotation(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected annotations of a video in the id list")
    return read_array(path)


def _check_frames(path: Path, holds: ArrayLike, expected: str) -> None:
    """Raises InputError for the first frame of which the condition ``holds`` (frames,) is false."""
    if not np.all(holds):
        raise InputError(f"{path}: frame {int(np.argmin(holds))} lacks {expected}")
