"""The whole of it: lists, annotations, then every video that is not there yet."""

import dataclasses
import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.wflw_v.clips import SPLITS, Clip, read_ids
from datasets.wflw_v.download.annotations import KINDS, annotation_target, fetch_annotations, read_extent
from datasets.wflw_v.download.lists import Range, fetch_lists, read_ranges
from datasets.wflw_v.download.report import Report
from datasets.wflw_v.download.sources import RANGES, Sources
from datasets.wflw_v.download.videos import Clipped, DiskFull, Job, bring
from ldeq import InputError, terminal
from ldeq.fetch import Connection, Patience, fetch
from ldeq.files import remove_temporaries
from utils.download.failure import Failure, Kind
from utils.download.unpack import DamagedArchive, unpack
from utils.engine.workers import Done, Moved, Workers

#: Unfinished files, in the data set's folder, so that finishing one is renaming it.
WORK = ".download"
#: Refusals in a row, with no video complete between, from which on the site is taken to refuse the address, not videos:
#: then everything waits before the next request, and from the second number on the run ends.
_SLOW_FROM, _END_FROM = 5, 20


@dataclass(frozen=True)
class Settings:
    """How to get the data set."""

    #: ``youtube``: every video from its site; ``archive``: all from one archive.
    source: str = "youtube"
    backend: str = "yt-dlp"
    n_processes: int = 4
    sources: Sources = dataclasses.field(default_factory=Sources)
    connection: Connection = dataclasses.field(default_factory=Connection)
    patience: Patience = dataclasses.field(default_factory=Patience)
    #: Check clips again that an earlier run has checked.
    recheck: bool = False


@dataclass(frozen=True)
class Summary:
    """What there is after a run."""

    report: Report
    #: The videos that were asked for.
    ids: list[str]
    n_complete_before: int
    #: Videos that an earlier run did not find in the archive as they should be.
    n_left_out: int = 0

    @property
    def failures(self) -> dict[str, tuple[Kind, str]]:
        return self.report.failures(self.ids)

    @property
    def n_complete(self) -> int:
        return sum(self.report.is_complete(id) for id in self.ids)


def download(root: Path, settings: Settings, split: str = "all", only: Sequence[str] | None = None) -> Summary:
    """Brings WFLW-V into ``root``; what is there and checked is left as it is.

    Args:
        split: ``hard``, ``easy`` or ``all``.
        only: these videos of the split.

    Raises:
        InputError: where lists or annotations cannot be had, the disk is full, or another download is at work here. A
            video that cannot be had is no error; it is in the report.
    """
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root):
        _tidy(root)
        try:
            return _download(root, settings, split, only)
        finally:
            _tidy(root)


def _tidy(root: Path) -> None:
    """Removes unfinished files, but for an archive's, from which a later run goes on."""
    remove_temporaries(root, deep=False)
    for name in ("bboxes", "landmarks", "videos"):
        remove_temporaries(root / name)
    shutil.rmtree(root / WORK / "videos", ignore_errors=True)
    with suppress(OSError):
        (root / WORK).rmdir()


def _download(root: Path, settings: Settings, split: str, only: Sequence[str] | None) -> Summary:
    fetch_lists(root, settings.sources, settings.connection, settings.patience)
    splits = {id: name for name in SPLITS for id in read_ids(root, name)}
    ids = [id for id, name in splits.items() if split in (name, "all") and (not only or id in only)]
    unknown = [id for id in only or () if id not in ids]
    if unknown:
        raise InputError(f"{', '.join(unknown)}: not in the {split} id list of {root}, expected ids that it has")

    report = Report(root, splits)
    there = {id for id in ids if report.is_complete(id) and not needs(root, id)}
    complete = set() if settings.recheck else there
    waiting, n_left_out = [id for id in ids if id not in complete], 0
    if settings.source == "archive":
        # An archive does not change: what it lacked or had wrong once is not worth a second transfer.
        worth = [id for id in waiting if settings.recheck or not report.has_failed(id, "archive")]
        waiting, n_left_out = worth, len(waiting) - len(worth)
        _unpack_archive(root, waiting, settings)
    else:
        fetch_annotations(root, root / WORK, ids, settings.sources, settings.connection, settings.patience)
    try:
        with terminal.ProgressBar(len(complete) + len(waiting), "video", "WFLW-V", done=len(complete)) as bar:
            _Videos(root, settings, report, bar).run(waiting)
            _archive_of(root).unlink(missing_ok=True)  # not before its clips are checked: it is a long transfer
    except KeyboardInterrupt:
        n_there = sum(report.is_complete(id) for id in ids)
        raise KeyboardInterrupt(f"{n_there} of {len(ids)} videos are there, the same command goes on") from None
    return Summary(report, ids, len(there), n_left_out)


class _Videos:
    """Brings videos, several at a time, and records what becomes of them."""

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
        preload = [__name__, "utils.download.flags"]  # what a script that is run imports, its processes import as well
        if from_youtube and self._settings.backend == "yt-dlp":
            preload.append("yt_dlp")
        with Workers[Job, "Clipped | Failure | DiskFull"](bring, self._settings.n_processes, preload) as workers:
            for id in ids:
                try:
                    workers.submit(self._job(id, ranges))
                except Failure as failure:
                    self._record(id, failure, attempts=0)
            for event in workers:
                if isinstance(event, Moved):
                    self._n_bytes["all"] += event.n_bytes
                    self._show()
                else:
                    self._end(event, workers)

    def _job(self, id: str, ranges: Mapping[str, Range]) -> Job:
        """Raises Failure where it can be told beforehand that the video cannot be made."""
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
            address=settings.sources.video.format(id=id),
            backend=settings.backend,
            connection=settings.connection,
        )

    def _end(self, event: "Done[Job, Clipped | Failure | DiskFull]", workers: "Workers[Job, Any]") -> None:
        job, result = event.job, event.result
        if isinstance(result, DiskFull):
            raise InputError(result.sentence)
        if isinstance(result, str):
            result = Failure(Kind.CRASHED, result)
        self._n_bytes[job.id] += result.n_bytes
        self._brake(result, workers)
        if isinstance(result, Failure) and job.address is not None and job.attempt <= self._settings.patience.retries:
            # Where one stream is refused or damaged another may not be; a broken connection says nothing of it.
            avoid = job.avoid | ({result.stream} if result.stream and result.kind is not Kind.NETWORK else set())
            if result.kind.may_pass or (result.kind is Kind.REMOVED and avoid > job.avoid):
                again = dataclasses.replace(job, attempt=job.attempt + 1, avoid=avoid)
                workers.submit(again, self._settings.patience.pause(job.attempt))
                return
        self._record(job.id, result, job.attempt)

    def _brake(self, result: Clipped | Failure, workers: "Workers[Job, Any]") -> None:
        """Holds all back where the site refuses one after another, which more requests would make worse."""
        if isinstance(result, Clipped):
            self._n_blocked = 0
        elif result.kind is Kind.BLOCKED:
            self._n_blocked += 1
            if self._n_blocked >= max(_END_FROM, 2 * self._settings.n_processes):  # all at once may be one refusal
                raise InputError(
                    f"the site refused {self._n_blocked} requests in a row ({result.message}), expected it to answer: "
                    "try --cookies-from-browser, --sleep, fewer --n_processes, or the same command later"
                )
            if self._n_blocked >= _SLOW_FROM:
                workers.hold(self._settings.patience.pause(min(5, self._n_blocked - _SLOW_FROM + 1)))

    def _record(self, id: str, result: Clipped | Failure, attempts: int) -> None:
        self._report.add(id, result, attempts, self._n_bytes[id], self._settings.source)
        if isinstance(result, Failure):
            self._n_failed += 1
            self._bar.say(f"{id}  {result.kind.value}: {result.message}")
        self._show()
        self._bar.advance()

    def _show(self) -> None:
        failed = f", {self._n_failed} failed" if self._n_failed else ""
        self._bar.note(f"{self._n_bytes['all'] / 1e6:.1f} MB{failed}")


def _unpack_archive(root: Path, waiting: Collection[str], settings: Settings) -> None:
    """Annotations to their folders, videos to where they are checked."""
    without = {id for id in waiting if not Clip(root, id).video_path.is_file()}
    if not any(needs(root, id) for id in waiting):
        return
    archive = _archive_of(root)
    if not archive.is_file():
        with terminal.ProgressBar(None, "B", "archive") as bar:
            fetch(settings.sources.archive, archive, settings.connection, settings.patience, bar)

    def place(path: PurePosixPath) -> Path | None:
        if path.suffix == ".mp4" and path.stem in without:
            return work_folder(root, path.stem) / path.name
        return annotation_target(path, root, waiting)

    try:
        with terminal.ProgressBar(None, "file", "unpacking") as bar:
            unpack(archive, place, root, lambda path: bar.advance())
    except DamagedArchive:
        archive.unlink()
        raise


def needs(root: Path, id: str) -> bool:
    """Whether a file of this video is missing."""
    clip = Clip(root, id)
    return not all(path.is_file() for path in (clip.video_path, *(root / kind / f"{id}.npy" for kind in KINDS)))


def _archive_of(root: Path) -> Path:
    return root / WORK / "WFLW_V.archive"


def work_folder(root: Path, id: str) -> Path:
    """Where a video is worked on."""
    return root / WORK / "videos" / id


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One download at a time in a folder. The lock is on the folder itself and ends with its process."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{root}: another download is at work here, expected to be the only one") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
