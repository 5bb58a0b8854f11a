"""Bboxes and landmarks: their download, and the requirements that they make of their video."""

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from datasets.wflw_v import Clip
from datasets.wflw_v.download.sources import Sources
from ldeq import InputError
from ldeq.fetch import Connection, RetryPolicy, address_of, fetch, local_path
from ldeq.files import sha256_of
from ldeq.first_use import check_first_use, record_first_use
from utils.download.failure import Failure, Kind
from utils.download.unpack import unpack

#: Folders of annotations, each with a ``<id>.npy`` a video.
FOLDERS = ("bboxes", "landmarks")
#: A frame may cut off so much of a face, in fractions of the face's larger side; landmarks are annotated there as well.
_CUT_OFF = 0.25


@dataclass(frozen=True)
class Extent:
    """The number of frames and the region of the frame that a video's annotations take up."""

    n_frames: int
    #: Least and greatest x and y of all landmarks, in frame pixels.
    least: tuple[float, float]
    greatest: tuple[float, float]
    #: Pixels by which landmarks may lie outside the frame.
    tolerance: float

    @property
    def min_size(self) -> tuple[float, float]:
        """The least width and height of a frame, in pixels."""
        return self.greatest[0] - self.tolerance, self.greatest[1] - self.tolerance

    def lies_in(self, width: int, height: int) -> bool:
        """True if all landmarks are within :attr:`tolerance` of a frame of this size in pixels."""
        return min(self.least) >= -self.tolerance and self.min_size[0] <= width and self.min_size[1] <= height


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
    root: Path, work: Path, ids: Collection[str], sources: Sources, connection: Connection, retry_policy: RetryPolicy
) -> None:
    """Downloads the bboxes and landmarks of ``ids``. An archive is only fetched if some of its files are missing.

    Files that an archive lacks stay missing, which is no error.

    Args:
        root: the data set's folder.
        work: the folder that archives are downloaded to.

    Raises:
        InputError: where an archive cannot be downloaded or unpacked.
    """
    for folder, source in zip(FOLDERS, (sources.bboxes, sources.landmarks), strict=True):
        missing = {id for id in ids if not (root / folder / f"{id}.npy").is_file()}
        if not missing:
            continue
        archive = work / f"{folder}.archive"
        fetch(source, archive, connection, retry_policy)
        try:
            target_of = functools.partial(annotation_target, root=root, ids=missing, only=folder)
            unpack_fetched(archive, source, target_of, root)
        finally:
            archive.unlink(missing_ok=True)


def unpack_fetched(
    archive: Path,
    source: str,
    target_of: Callable[[PurePosixPath], Path | None],
    root: Path,
    on_file: Callable[[Path], None] = lambda path: None,
) -> None:
    """Unpacks an archive that was fetched into the data set's folder, if it is what it was at the first download.

    Nobody publishes the SHA-256 of these archives, so the one that first proves whole is recorded in the folder, by its
    address. A file of the user's own is theirs to know.

    Args:
        source: what it was fetched from.
        target_of, on_file: as of :func:`utils.download.unpack.unpack`.

    Raises:
        DamagedArchive, InputError: as :func:`utils.download.unpack.unpack`, and where it is another archive.
    """
    address = address_of(source)
    digest = sha256_of(archive) if local_path(source) is None else None

    def accept() -> None:
        if digest is not None:
            check_first_use(root, address, digest, address)

    unpack(archive, target_of, root, on_file, name=address, accept=accept)
    if digest is not None:
        record_first_use(root, address, digest)


def annotation_target(path: PurePosixPath, root: Path, ids: Collection[str], only: str | None = None) -> Path | None:
    """The path that an archive's member is unpacked to; None for a member that is no annotation of ``ids``.

    Archives are made from folders of any name, and by some systems with hidden copies of each file (``._<id>.npy``).

    Args:
        path: of the member, in its archive.
        only: the one of :data:`FOLDERS` that the archive is of, which its members need not say.
    """
    folders = [part for part in path.parts[:-1] if part in FOLDERS]
    folder = folders[-1] if folders else only
    if path.suffix != ".npy" or path.stem not in ids or folder is None or (only is not None and folder != only):
        return None
    return root / folder / path.name
