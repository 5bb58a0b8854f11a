"""Work that is done in the background, in the order in which it was asked for."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Runs one job after the other in a thread of its own, and keeps whoever asks from getting far ahead.

    Once a job has failed no other one is run.

    Args:
        name: of the thread.
        most_waiting: jobs that may be there before :meth:`run` waits; each holds on to what it works on.
    """

    def __init__(self, name: str, most_waiting: int = 2) -> None:
        self._executor = ThreadPoolExecutor(1, name)
        self._most_waiting = most_waiting
        self._waiting: deque[Future[None]] = deque()
        self._has_failed = False

    def run(self, job: Callable[[], None]) -> None:
        """Has a job done after those before it.

        Raises:
            Exception: what an earlier job has raised.
        """
        while self._waiting and (len(self._waiting) >= self._most_waiting or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._executor.submit(self._do, job))

    def finish(self) -> None:
        """Returns once every job is done.

        Raises:
            Exception: what a job has raised.
        """
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Drops the jobs that have not begun, and ends the thread once the one at hand is done."""
        self._executor.shutdown(cancel_futures=True)

    def _do(self, job: Callable[[], None]) -> None:
        if self._has_failed:
            return
        try:
            job()
        except BaseException:
            self._has_failed = True
            raise
