"""Bboxes and landmarks: fetched as archives, unpacked, and what they say of a video before it is there."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from datasets.wflw_v import Clip
from datasets.wflw_v.download.sources import Sources
from ldeq import InputError
from ldeq.fetch import Connection, Patience, fetch
from utils.download.failure import Failure, Kind
from utils.download.unpack import unpack

KINDS = ("bboxes", "landmarks")


#: A frame may cut off so much of a face, in parts of the face's larger side; landmarks are annotated there as well.
_CUT_OFF = 0.25


@dataclass(frozen=True)
class Extent:
    """What annotations demand of their video."""

    n_frames: int
    #: Least and greatest x and y of all landmarks, in frame pixels.
    least: tuple[float, float]
    greatest: tuple[float, float]
    #: Pixels by which landmarks may lie outside the frame.
    slack: float

    @property
    def reach(self) -> tuple[float, float]:
        """The least width and height that a frame can have."""
        return self.greatest[0] - self.slack, self.greatest[1] - self.slack

    def lies_in(self, width: int, height: int) -> bool:
        """Whether all landmarks are inside the frame, but for what it cuts off of a face."""
        return min(self.least) >= -self.slack and self.reach[0] <= width and self.reach[1] <= height


def read_extent(root: Path, id: str) -> Extent:
    """The extent of a video's annotations.

    Raises:
        Failure: where they are missing or invalid.
    """
    clip = Clip(root, id)
    try:
        n_frames = clip.check_annotations()
        landmarks = clip.landmarks
    except InputError as error:
        raise Failure(Kind.ANNOTATIONS, str(error)) from None
    side = float(np.median(np.ptp(landmarks, axis=1).max(axis=-1)))
    least, greatest = landmarks.min(axis=(0, 1)), landmarks.max(axis=(0, 1))
    return Extent(
        n_frames,
        (float(least[0]), float(least[1])),
        (float(greatest[0]), float(greatest[1])),
        _CUT_OFF * side,
    )


def fetch_annotations(
    root: Path, work: Path, ids: Collection[str], sources: Sources, connection: Connection, patience: Patience
) -> None:
    """Bboxes and landmarks of ``ids`` to ``root``; an archive is only fetched if some of its files are missing.

    What an archive lacks stays missing, for the report to tell.

    Raises:
        InputError: where an archive cannot be had or unpacked.
    """
    for kind, place in zip(KINDS, (sources.bboxes, sources.landmarks), strict=True):
        missing = {id for id in ids if not (root / kind / f"{id}.npy").is_file()}
        if not missing:
            continue
        archive = work / f"{kind}.archive"
        fetch(place, archive, connection, patience)
        try:
            unpack(archive, lambda path, k=kind, m=missing: annotation_target(path, root, m, k), root)  # type: ignore[misc]
        finally:
            archive.unlink(missing_ok=True)


def annotation_target(path: PurePosixPath, root: Path, ids: Collection[str], only: str | None = None) -> Path | None:
    """Where ``<id>.npy`` of an archive goes: by the folder that it is in, or to ``only``; None for what else there is.

    Archives are made from folders of any name, and by some systems with hidden copies of each file (``._<id>.npy``).
    """
    kinds = [part for part in path.parts[:-1] if part in KINDS]
    kind = kinds[-1] if kinds else only
    if path.suffix != ".npy" or path.stem not in ids or kind is None or (only is not None and kind != only):
        return None
    return root / kind / path.name
