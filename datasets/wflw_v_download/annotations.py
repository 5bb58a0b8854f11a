"""Boxes and landmarks: fetched as archives, unpacked, and what they say of a video before it is there."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from datasets.wflw_v import Clip
from datasets.wflw_v_download.sources import Sources
from ldeq import InputError
from utils.download.backend import Connection
from utils.download.failure import Failure, Kind
from utils.download.fetch import Patience, fetch
from utils.download.streams import MARGIN
from utils.download.unpack import unpack

KINDS = ("bboxes", "landmarks")


@dataclass(frozen=True)
class Extent:
    """What annotations demand of their video."""

    n_frames: int
    #: Least and greatest x and y of all landmarks, in frame pixels.
    least: tuple[float, float]
    greatest: tuple[float, float]

    def lies_in(self, width: int, height: int) -> bool:
        """Whether all landmarks are inside the frame, but for those of a face that it cuts off."""
        low = all(value >= -MARGIN * side for value, side in zip(self.least, (width, height), strict=True))
        high = all(value <= (1 + MARGIN) * side for value, side in zip(self.greatest, (width, height), strict=True))
        return low and high


def read_extent(root: Path, id: str) -> Extent:
    """The extent of a video's annotations.

    Raises:
        Failure: where they are missing or invalid.
    """
    clip = Clip(root, id)
    try:
        n_frames = clip.check_annotations()
        points = clip.landmarks.reshape(-1, 2)
    except InputError as error:
        raise Failure(Kind.ANNOTATIONS, str(error)) from None
    least, greatest = np.min(points, axis=0), np.max(points, axis=0)
    return Extent(n_frames, (float(least[0]), float(least[1])), (float(greatest[0]), float(greatest[1])))


def fetch_annotations(
    root: Path, work: Path, ids: Collection[str], sources: Sources, connection: Connection, patience: Patience
) -> None:
    """Boxes and landmarks of ``ids`` to ``root``; an archive is only fetched if some of its files are missing.

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
