"""One video: downloaded, cut, checked, and only then under its name. Runs in a process of its own."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets.wflw_v import Clip
from datasets.wflw_v.download.annotations import Extent
from ldeq import InputError
from ldeq.fetch import Connection
from ldeq.files import written_whole
from ldeq.video.reading import VideoReader
from utils.download.backend import make_backend
from utils.download.cutting import check_undamaged, cut
from utils.download.failure import Failure, Kind, is_of_the_disk
from utils.download.streams import Choice, Stream, choose


@dataclass(frozen=True)
class Job:
    """What is to be done for one video.

    A clip that is in ``work`` (from an archive) or already under its name is checked, and taken if it is right. If not,
    or if there is none, the video is downloaded from ``address`` if there is one.
    """

    id: str
    root: Path
    #: This video's own folder.
    work: Path
    extent: Extent
    first: int = 0
    last: int = 0
    address: str | None = None
    backend: str = "yt-dlp"
    connection: Connection = field(default_factory=Connection)
    attempt: int = 1
    #: Streams that failed in earlier attempts.
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Clipped:
    """A clip that is there and right."""

    n_bytes: int
    file_bytes: int
    width: int
    height: int
    n_frames: int
    stream: str = ""
    note: str = ""


@dataclass(frozen=True)
class DiskFull:
    """The disk does not take more, which ends the run."""

    sentence: str


def bring(job: Job, on_bytes: Callable[[int], None]) -> Clipped | Failure | DiskFull:
    """Does a job. Failures come back as values; the work folder of one that is done is gone."""
    try:
        clipped = _bring(job, on_bytes)
    except Failure as failure:
        if failure.kind is Kind.UNDECODABLE or not failure.kind.may_pass:
            shutil.rmtree(job.work, ignore_errors=True)  # of no use to another attempt
        return failure
    except InputError as error:
        return DiskFull(str(error))
    except OSError as error:
        if not is_of_the_disk(error):
            return Failure(Kind.NETWORK, f"the connection failed ({error.strerror or error})")
        return DiskFull(f"{job.root}: cannot be written ({error.strerror or error}), expected a disk with space")
    shutil.rmtree(job.work, ignore_errors=True)
    return clipped


def _bring(job: Job, on_bytes: Callable[[int], None]) -> Clipped:
    target = Clip(job.root, job.id).video_path
    unpacked = job.work / target.name
    if unpacked.is_file():
        try:
            return _take(unpacked, target, job.extent)
        except Failure:
            unpacked.unlink()
            if job.address is None:
                raise
    if target.is_file():
        try:
            return _take(target, target, job.extent)
        except Failure as failure:
            target.replace(rejected_path(target))  # it may be the user's own, and the only one
            if job.address is None:
                message = f"the clip that was there is not right ({failure.message}): run the command again"
                raise Failure(Kind.UNDECODABLE, message) from failure
    if job.address is None:
        raise Failure(Kind.REMOVED, "the archive does not have it")
    job.work.mkdir(parents=True, exist_ok=True)

    def choice_of(streams: Sequence[Stream]) -> Choice:
        return choose(streams, job.extent.reach, job.avoid)

    downloaded = make_backend(job.backend, job.connection).download(job.address, job.work, choice_of, on_bytes)
    stream, choice = downloaded.choice.stream, downloaded.choice
    try:
        with written_whole(target) as temporary:
            cut(downloaded.path, temporary, job.first, job.last, size=choice.size, step=choice.step)
            width, height, n_frames = verify(temporary, job.extent)
    except Failure as failure:
        raise Failure(failure.kind, failure.message, downloaded.n_bytes, stream.id) from failure
    rejected_path(target).unlink(missing_ok=True)
    return Clipped(downloaded.n_bytes, target.stat().st_size, width, height, n_frames, stream.id, choice.note)


def rejected_path(target: Path) -> Path:
    """Where a clip goes that was there before and failed the check, until there is one that passes."""
    return target.with_suffix(".rejected.mp4")


def _take(path: Path, target: Path, extent: Extent) -> Clipped:
    """A clip that is already there, once it has been checked."""
    width, height, n_frames = verify(path, extent)
    check_undamaged(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    rejected_path(target).unlink(missing_ok=True)
    return Clipped(0, target.stat().st_size, width, height, n_frames)


def verify(path: Path, extent: Extent) -> tuple[int, int, int]:
    """Decodes a clip to its end, as the evaluation does: width, height and number of frames.

    Raises:
        Failure: where it is not what its annotations need: as many frames, all of one size, landmarks inside them.
    """
    n_frames, size = 0, (0, 0)
    try:
        with VideoReader(path) as video:
            declared = video.n_frames_declared
            for frame in video:
                height, width = frame.shape[:2]
                if n_frames and (width, height) != size:
                    raise Failure(Kind.WRONG_SIZE, f"frame {n_frames} is {width}x{height} after {size[0]}x{size[1]}")
                size = (width, height)
                n_frames += 1
    except InputError:
        raise Failure(Kind.UNDECODABLE, "the clip cannot be decoded") from None
    if n_frames != extent.n_frames:
        kind = Kind.UNDECODABLE if n_frames < extent.n_frames <= declared else Kind.LENGTH
        raise Failure(kind, f"the clip has {n_frames} frames, expected {extent.n_frames} as annotated")
    if not extent.lies_in(*size):
        (left, top), (right, bottom) = extent.least, extent.greatest
        reach = f"x {left:.0f} to {right:.0f}, y {top:.0f} to {bottom:.0f}"
        raise Failure(Kind.WRONG_SIZE, f"frames are {size[0]}x{size[1]}, the landmarks are at {reach}")
    return (*size, n_frames)
