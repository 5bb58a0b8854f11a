"""A pool of processes whose jobs may crash, hang, be killed, or be delayed."""

import heapq
import itertools
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from ldeq.orphans import end_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")

#: Seconds that a process which is told to end may take.
_END_TIMEOUT = 2.0


@dataclass(frozen=True)
class BytesReceived:
    """The event that a job has received some bytes."""

    #: The number of bytes since the job's last event.
    n_bytes: int


@dataclass(frozen=True)
class Done(Generic[Job, Result]):
    """The event that a job has ended."""

    job: Job
    #: What the function returned, or a sentence where it raised an exception or its process crashed.
    result: Result | str


@dataclass
class _Worker(Generic[Job]):
    process: BaseProcess
    pipe: "connection.Connection[object, object]"
    #: The job that it is at work on.
    job: Job | None = None


class Workers(Generic[Job, Result]):
    """Runs ``function(job, on_bytes)`` in processes of its own.

    Processes rather than threads, since decoders of damaged files crash, downloads that hang must be stoppable at once,
    and yt-dlp and the drawing of faces are Python. They ignore Ctrl-C, which is for their parent, and end with it,
    however it ends.

    Jobs may be added while results are taken, with a delay that keeps no process waiting::

        with Workers(function, 16) as workers:
            workers.submit(job)
            for event in workers:
                ...

    Args:
        function: picklable; its call of ``on_bytes(n)`` becomes an event :class:`BytesReceived` in the parent.
        n_workers: the greatest number of processes; they are started when there are jobs for them.
        preload: names of modules that each process would import, which are then imported once for all.
    """

    def __init__(
        self, function: Callable[[Job, Callable[[int], None]], Result], n_workers: int, preload: Sequence[str] = ()
    ) -> None:
        self._function = function
        self._n_workers = n_workers
        self._context = _context([function.__module__, *preload])
        self._workers: list[_Worker[Job]] = []
        #: A heap of jobs by the time when they may begin, and by a number that keeps their order.
        self._queue: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count()
        self._paused_until = 0.0

    def submit(self, job: Job, delay: float = 0.0) -> None:
        """Adds a job, to be begun after ``delay`` seconds at the earliest."""
        heapq.heappush(self._queue, (time.monotonic() + delay, next(self._numbers), job))

    def pause(self, seconds: float) -> None:
        """Begins no job for so many seconds from now."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def __iter__(self) -> Iterator[BytesReceived | Done[Job, Result]]:
        """Runs the jobs and yields events as they come, until no job is left."""
        while True:
            self._dispatch()
            busy = [worker for worker in self._workers if worker.job is not None]
            if not busy and not self._queue:
                return
            due = max(0.0, max(self._queue[0][0], self._paused_until) - time.monotonic()) if self._queue else None
            if not busy:
                time.sleep(due or 0.0)
                continue
            full = len(busy) == self._n_workers
            for pipe in connection.wait([worker.pipe for worker in busy], None if full else due):
                worker = next(worker for worker in busy if worker.pipe is pipe)
                yield from self._receive_events(worker)

    def _dispatch(self) -> None:
        """Sends jobs that are due to idle processes."""
        while self._queue and max(self._queue[0][0], self._paused_until) <= time.monotonic():
            worker = next((worker for worker in self._workers if worker.job is None), None)
            if worker is None:
                if len(self._workers) == self._n_workers:
                    return
                worker = self._start()
            job = heapq.heappop(self._queue)[2]
            try:
                worker.pipe.send(job)
            except OSError:  # it died while it was idle
                self._workers.remove(worker)
                self.submit(job)
                continue
            worker.job = job

    def _start(self) -> _Worker[Job]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_process_jobs, args=(self._function, theirs), daemon=True)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        worker: _Worker[Job] = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _receive_events(self, worker: _Worker[Job]) -> Iterator[BytesReceived | Done[Job, Result]]:
        job = worker.job
        assert job is not None
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._workers.remove(worker)
            worker.process.join(_END_TIMEOUT)
            yield Done(job, f"its process ended with status {worker.process.exitcode}")
            return
        if isinstance(message, BytesReceived):
            yield message
        else:
            worker.job = None
            yield Done(job, cast("Result | str", message))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.terminate()
        end = time.monotonic() + _END_TIMEOUT
        for worker in self._workers:
            worker.process.join(max(0.0, end - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()


def _context(preload: list[str]) -> BaseContext:
    # A server that has imported what is needed and forks: cheap, and free of the parent's threads and open files.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preload)
    # It imports before it turns to ignoring Ctrl-C, which is for us: until then the signal stays blocked, as inherited.
    resource_tracker.ensure_running()  # which would unblock it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _process_jobs(
    function: Callable[[Job, Callable[[int], None]], Result], pipe: "connection.Connection[object, object]"
) -> None:
    """The main function of a process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_bytes(n_bytes: int) -> None:
        pipe.send(BytesReceived(n_bytes))

    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            result: object = function(job, on_bytes)  # type: ignore[arg-type]
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        pipe.send(result)
