"""The download of WFLW-V: lists, annotations, then every video that is not complete yet."""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.wflw_v.clips import Clip
from datasets.wflw_v.download.annotations import annotation_target, fetch_annotations, read_extent, unpack_fetched
from datasets.wflw_v.download.lists import FrameRange, fetch_lists, read_ranges
from datasets.wflw_v.download.paths import WORK, archive_path, videos_path, work_folder
from datasets.wflw_v.download.report import Report
from datasets.wflw_v.download.sources import RANGES, Sources
from datasets.wflw_v.download.videos import DiskFull, FinishedClip, Job, process_job
from datasets.wflw_v.ids import ANNOTATIONS, read_ids
from datasets.wflw_v.splits import SPLITS
from ldeq import InputError, terminal
from ldeq.fetch import Connection, RetryPolicy, fetch
from ldeq.files import printable
from ldeq.folder_lock import held, remove_leftovers
from utils.download.failure import Failure, Kind
from utils.download.unpack import DamagedArchive
from utils.engine.workers import BytesReceived, Done, Workers

#: Refusals in a row, with no video complete between, from which on the site is taken to refuse the client, not videos:
#: then all jobs wait before the next request, and from the second number on the run ends.
_BACK_OFF_FROM, _GIVE_UP_FROM = 5, 20


@dataclass(frozen=True)
class Settings:
    """Settings of the download."""

    #: ``youtube``: every video from its site; ``archive``: all from one archive.
    source: str = "youtube"
    backend: str = "yt-dlp"
    n_processes: int = 4
    sources: Sources = dataclasses.field(default_factory=Sources)
    connection: Connection = dataclasses.field(default_factory=Connection)
    retry_policy: RetryPolicy = dataclasses.field(default_factory=RetryPolicy)
    #: Check clips again that an earlier run has checked.
    recheck: bool = False


@dataclass(frozen=True)
class Summary:
    """The state of the data set after a run."""

    report: Report
    #: The ids of the videos that were asked for.
    ids: list[str]
    n_complete_before: int
    #: Number of videos that were not looked for, as an earlier run found them wrong or missing in the archive.
    n_left_out: int = 0

    @property
    def failures(self) -> dict[str, tuple[Kind, str]]:
        """Kind and message of each failure by id."""
        return self.report.failures(self.ids)

    @property
    def n_complete(self) -> int:
        """The number of videos that are complete and checked."""
        return sum(self.report.is_complete(id) for id in self.ids)


def download(root: Path, settings: Settings, split: str = "all", only: Sequence[str] | None = None) -> Summary:
    """Downloads WFLW-V into ``root``. Files that are complete and checked are left as they are.

    Args:
        root: the data set's folder, which is made if it is not there.
        split: ``hard``, ``easy`` or ``all``.
        only: ids, to download these videos of the split alone.

    Raises:
        InputError: where lists or annotations cannot be downloaded, the disk is full, or another download is at work in
            the folder. A video that cannot be downloaded is no error but a row of the report.
    """
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    with held(root):
        _remove_unfinished(root)
        try:
            return _download(root, settings, split, only)
        finally:
            _remove_unfinished(root)


def _remove_unfinished(root: Path) -> None:
    """Removes unfinished files, but for those of an archive, whose transfer a later run resumes."""
    remove_leftovers(root, *ANNOTATIONS, "videos")
    shutil.rmtree(videos_path(root), ignore_errors=True)
    with suppress(OSError):
        (root / WORK).rmdir()


def _download(root: Path, settings: Settings, split: str, only: Sequence[str] | None) -> Summary:
    fetch_lists(root, settings.sources, settings.connection, settings.retry_policy)
    splits = {id: name for name in SPLITS for id in read_ids(root, name)}
    ids = [id for id, name in splits.items() if split in (name, "all") and (not only or id in only)]
    unknown = [id for id in only or () if id not in ids]
    if unknown:
        raise InputError(f"{', '.join(unknown)}: not in the {split} id list of {root}, expected ids that it has")

    report = Report(root, splits)
    complete_before = {id for id in ids if report.is_complete(id) and not _lacks_files(root, id)}
    complete = set() if settings.recheck else complete_before
    pending, n_left_out = [id for id in ids if id not in complete], 0
    if settings.source == "archive":
        # An archive does not change: videos that it lacked or had wrong once are not worth a second transfer.
        promising = [id for id in pending if settings.recheck or not report.has_failed(id, "archive")]
        pending, n_left_out = promising, len(pending) - len(promising)
        _unpack_archive(root, pending, settings)
    else:
        fetch_annotations(root, root / WORK, ids, settings.sources, settings.connection, settings.retry_policy)
    try:
        with terminal.ProgressBar(len(complete) + len(pending), "video", "WFLW-V", done=len(complete)) as bar:
            _VideoDownloads(root, settings, report, bar).run(pending)
            archive_path(root).unlink(missing_ok=True)  # not before its clips are checked: it is a long transfer
    except KeyboardInterrupt:
        n_complete = sum(report.is_complete(id) for id in ids)
        raise KeyboardInterrupt(f"{n_complete} of {len(ids)} videos are there, the same command goes on") from None
    return Summary(report, ids, len(complete_before), n_left_out)


class _VideoDownloads:
    """Downloads videos, several at a time, and records their outcomes."""

    def __init__(self, root: Path, settings: Settings, report: Report, bar: terminal.ProgressBar) -> None:
        self._root = root
        self._settings = settings
        self._report = report
        self._bar = bar
        self._n_bytes: Counter[str] = Counter()
        self._n_failed = 0
        self._n_blocked = 0

    def run(self, ids: Sequence[str]) -> None:
        from_youtube = self._settings.source == "youtube"
        ranges = read_ranges(self._root) if from_youtube else {}
        preload = [__name__, "utils.download.flags"]  # processes import the modules of the script that is run
        if from_youtube and self._settings.backend == "yt-dlp":
            preload.append("yt_dlp")
        with Workers[Job, "FinishedClip | Failure | DiskFull"](
            process_job, self._settings.n_processes, preload
        ) as workers:
            for id in ids:
                try:
                    workers.submit(self._job(id, ranges))
                except Failure as failure:
                    self._record(id, failure, attempts=0)
            for event in workers:
                if isinstance(event, BytesReceived):
                    self._n_bytes["all"] += event.n_bytes
                    self._show()
                else:
                    self._finish_job(event, workers)

    def _job(self, id: str, ranges: Mapping[str, FrameRange]) -> Job:
        """The job of a video.

        Raises:
            Failure: where it is known beforehand that the clip cannot be made.
        """
        settings = self._settings
        extent = read_extent(self._root, id)
        job = Job(id, self._root, work_folder(self._root, id), extent)
        if settings.source == "archive":
            return job
        if id not in ranges:
            raise Failure(Kind.NO_RANGE, f"{RANGES} does not have it")
        first, last = ranges[id]
        if last - first + 1 != extent.n_frames:
            expected = f"expected {last - first + 1} for {first} to {last} in {RANGES}"
            raise Failure(Kind.ANNOTATIONS, f"annotations have {extent.n_frames} frames, {expected}")
        return dataclasses.replace(
            job,
            first=first,
            last=last,
            address=settings.sources.address_of_video(id),
            backend=settings.backend,
            connection=settings.connection,
        )

    def _finish_job(self, event: "Done[Job, FinishedClip | Failure | DiskFull]", workers: "Workers[Job, Any]") -> None:
        """Submits a job whose failure is transient once more, and records the outcome of any other."""
        job, result = event.job, event.result
        if isinstance(result, DiskFull):
            raise InputError(result.message)
        if isinstance(result, str):
            result = Failure(Kind.CRASHED, result)
        self._n_bytes[job.id] += result.n_bytes
        self._back_off(result, workers)
        if (
            isinstance(result, Failure)
            and job.address is not None
            and job.attempt <= self._settings.retry_policy.retries
        ):
            # Where one stream is refused or damaged another may not be; a broken connection is not the stream's fault.
            avoid = job.avoid | ({result.stream} if result.stream and result.kind is not Kind.NETWORK else set())
            if result.kind.is_transient or (result.kind is Kind.REMOVED and avoid > job.avoid):
                again = dataclasses.replace(job, attempt=job.attempt + 1, avoid=avoid)
                workers.submit(again, self._settings.retry_policy.backoff(job.attempt))
                return
        self._record(job.id, result, job.attempt)

    def _back_off(self, result: FinishedClip | Failure, workers: "Workers[Job, Any]") -> None:
        """Delays all jobs where the site refuses one after another, which more requests would make worse."""
        if isinstance(result, FinishedClip):
            self._n_blocked = 0
        elif result.kind is Kind.BLOCKED:
            self._n_blocked += 1
            if self._n_blocked >= max(_GIVE_UP_FROM, 2 * self._settings.n_processes):  # all at once may be one refusal
                raise InputError(
                    f"the site refused {self._n_blocked} requests in a row ({result.message}), expected it to answer: "
                    "try --cookies-from-browser, --sleep, fewer --n_processes, or the same command later"
                )
            if self._n_blocked >= _BACK_OFF_FROM:
                workers.pause(self._settings.retry_policy.backoff(min(5, self._n_blocked - _BACK_OFF_FROM + 1)))

    def _record(self, id: str, result: FinishedClip | Failure, attempts: int) -> None:
        self._report.add(id, result, attempts, self._n_bytes[id], self._settings.source)
        if isinstance(result, Failure):
            self._n_failed += 1
            print(printable(f"{id}  {result.kind.value}: {result.message}"))
        self._show()
        self._bar.advance()

    def _show(self) -> None:
        failed = f", {self._n_failed} failed" if self._n_failed else ""
        self._bar.note(f"{self._n_bytes['all'] / 1e6:.1f} MB{failed}")


def _unpack_archive(root: Path, ids: Collection[str], settings: Settings) -> None:
    """Unpacks annotations to their folders, and videos that are missing to their work folders, to be checked there."""
    without_video = {id for id in ids if not Clip(root, id).video_path.is_file()}
    if not any(_lacks_files(root, id) for id in ids):
        return
    archive = archive_path(root)
    if not archive.is_file():
        with terminal.ProgressBar(None, "B", "archive") as bar:
            fetch(settings.sources.archive, archive, settings.connection, settings.retry_policy, bar)

    def target_of(path: PurePosixPath) -> Path | None:
        if path.suffix == ".mp4" and path.stem in without_video:
            return work_folder(root, path.stem) / path.name
        return annotation_target(path, root, ids)

    try:
        with terminal.ProgressBar(None, "file", "unpacking") as bar:
            unpack_fetched(archive, settings.sources.archive, target_of, root, lambda path: bar.advance())
    except DamagedArchive:
        archive.unlink()
        raise


def _lacks_files(root: Path, id: str) -> bool:
    clip = Clip(root, id)
    return not all(path.is_file() for path in (clip.video_path, clip.bboxes_path, clip.landmarks_path))
