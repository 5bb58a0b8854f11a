"""The job of one video, in a process of its own: it is downloaded, cut, checked, and only then gets its name."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets.wflw_v import Clip
from datasets.wflw_v.download.annotations import Extent
from datasets.wflw_v.download.paths import rejected_path
from ldeq import InputError
from ldeq.fetch import Connection
from ldeq.files import written_whole
from ldeq.video.reading import VideoReader
from utils.download.backend import make_backend
from utils.download.cutting import cut
from utils.download.failure import Failure, Kind, is_disk_error
from utils.download.streams import Choice, Stream, choose


@dataclass(frozen=True)
class Job:
    """The input of :func:`process_job`."""

    id: str
    #: The data set's folder.
    root: Path
    #: This video's own folder for unfinished files.
    work: Path
    #: The requirements of its annotations.
    extent: Extent
    #: First and last frame of the clip in the video, both included, from 0.
    first: int = 0
    last: int = 0
    #: Web address of the video; None if it cannot be downloaded.
    address: str | None = None
    backend: str = "yt-dlp"
    connection: Connection = field(default_factory=Connection)
    #: Number of the attempt, from 1.
    attempt: int = 1
    #: Ids of streams that failed in earlier attempts.
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FinishedClip:
    """A clip that is under its name and has passed its check."""

    #: Bytes that were transferred.
    n_bytes: int
    #: Size of the clip's file.
    file_bytes: int
    #: Size of its frames in pixels.
    width: int
    height: int
    n_frames: int
    #: Id of the stream that it was cut from.
    stream: str = ""
    #: A remark for the report.
    note: str = ""


@dataclass(frozen=True)
class DiskFull:
    """Files cannot be written, which ends the run."""

    message: str


def process_job(job: Job, on_bytes: Callable[[int], None]) -> FinishedClip | Failure | DiskFull:
    """Makes the clip of a video. Failures are returned, not raised.

    A clip that is in the job's work folder (from an archive) or already under its name is checked, and kept if it
    passes. If it does not, or if there is none, the video is downloaded where the job has an address.

    Args:
        on_bytes: is called with the number of bytes that were received since its last call.
    """
    try:
        clip = _make_clip(job, on_bytes)
    except Failure as failure:
        if failure.kind is Kind.UNDECODABLE or not failure.kind.is_transient:
            shutil.rmtree(job.work, ignore_errors=True)  # of no use to another attempt
        return failure
    except InputError as error:
        return DiskFull(str(error))
    except OSError as error:
        if not is_disk_error(error):
            return Failure(Kind.NETWORK, f"the connection failed ({error.strerror or error})")
        return DiskFull(f"{job.root}: cannot be written ({error.strerror or error}), expected a disk with space")
    shutil.rmtree(job.work, ignore_errors=True)
    return clip


def _make_clip(job: Job, on_bytes: Callable[[int], None]) -> FinishedClip:
    target = Clip(job.root, job.id).video_path
    unpacked = job.work / target.name
    if unpacked.is_file():
        try:
            return _accept(unpacked, target, job.extent)
        except Failure:
            unpacked.unlink()
            if job.address is None:
                raise
    if target.is_file():
        try:
            return _accept(target, target, job.extent)
        except Failure as failure:
            target.replace(rejected_path(target))  # it may be the user's own, and the only one
            if job.address is None:
                message = f"the clip that was there is not right ({failure.message}): run the command again"
                raise Failure(Kind.UNDECODABLE, message) from failure
    if job.address is None:
        raise Failure(Kind.REMOVED, "the archive does not have it")
    job.work.mkdir(parents=True, exist_ok=True)

    def choose_stream(streams: Sequence[Stream]) -> Choice:
        choice = choose(streams, job.extent.min_size, job.avoid)
        # Rather than a smaller stream, one that was refused is asked for again.
        return choose(streams, job.extent.min_size) if choice.enlarges else choice

    downloaded = make_backend(job.backend, job.connection).download(job.address, job.work, choose_stream, on_bytes)
    stream, choice = downloaded.choice.stream, downloaded.choice
    try:
        with written_whole(target) as temporary:
            cut(downloaded.path, temporary, job.first, job.last, size=choice.size, step=choice.step)
            width, height, n_frames = verify(temporary, job.extent)
    except Failure as failure:
        raise Failure(failure.kind, failure.message, downloaded.n_bytes, stream.id) from failure
    rejected_path(target).unlink(missing_ok=True)
    return FinishedClip(downloaded.n_bytes, target.stat().st_size, width, height, n_frames, stream.id, choice.note)


def _accept(path: Path, target: Path, extent: Extent) -> FinishedClip:
    """Checks a clip that is on disk already, and moves it to its name."""
    width, height, n_frames = verify(path, extent)
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    rejected_path(target).unlink(missing_ok=True)
    return FinishedClip(0, target.stat().st_size, width, height, n_frames)


def verify(path: Path, extent: Extent) -> tuple[int, int, int]:
    """Decodes a clip to its end, as the evaluation does, and compares it with its annotations.

    Returns:
        Width and height of the frames in pixels, and their number.

    Raises:
        Failure: where the clip cannot be decoded or is damaged, has another number of frames than its annotations, or
            frames in which the landmarks do not lie.
    """
    n_frames, size = 0, (0, 0)
    try:
        with VideoReader(path) as video:
            declared = video.n_frames_declared
            for frame in video:
                size = (frame.shape[1], frame.shape[0])
                n_frames += 1
            damage = video.damage()
    except InputError:
        raise Failure(Kind.UNDECODABLE, "the clip cannot be decoded") from None
    if damage is not None:
        raise Failure(Kind.UNDECODABLE, f"the clip {damage}")
    if n_frames != extent.n_frames:
        kind = Kind.UNDECODABLE if n_frames < extent.n_frames <= declared else Kind.LENGTH
        raise Failure(kind, f"the clip has {n_frames} frames, expected {extent.n_frames} as annotated")
    if not extent.lies_in(*size):
        (left, top), (right, bottom) = extent.least, extent.greatest
        reach = f"x {left:.0f} to {right:.0f}, y {top:.0f} to {bottom:.0f}"
        raise Failure(Kind.WRONG_SIZE, f"frames are {size[0]}x{size[1]}, the landmarks are at {reach}")
    return (*size, n_frames)
