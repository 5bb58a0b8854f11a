"""Requests to end a run, by Ctrl-C or SIGTERM: none is lost, whenever it comes."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from ldeq import torchrun
from ldeq.errors import program_name

#: Exit status of a run that was asked to end.
STATUS = 130
_REQUESTS = (signal.SIGINT, signal.SIGTERM)
#: Seconds after which a request that a library has swallowed is repeated.
_REPEAT = 0.5
#: Seconds within which requests may come from one wish: where every process is told to end, torchrun tells its own once
#: more.
PATIENCE = 5.0

_Handler = Callable[[int, FrameType | None], object]


def end_at_once_until_run() -> None:
    """For the first line of a program: importing its modules takes a while, and a request then ends it in one line.

    :func:`ldeq.command_line.run` takes over.
    """
    _handle_requests(_on_request_end_at_once)


class Requests:
    """The requests to end a run, which become KeyboardInterrupt.

    Two things lose an exception that comes from outside: imports, which take it for a module that cannot be had, and
    code that Python calls where nothing can be raised. So a request during an import, when nothing is half done that
    the next run does not take care of, ends the process, and any other one is repeated until it has got through.
    """

    def __init__(self) -> None:
        self.pending = False
        #: Called before a request ends the process in the middle of an import.
        self.last_word: Callable[[], object] = lambda: None
        self._since = 0.0

    def on_request(self, number: int, frame: FrameType | None) -> None:
        """Handles SIGINT and SIGTERM."""
        if self.pending and time.monotonic() - self._since < _patience():
            return
        self._since = time.monotonic()
        self._raise(frame)

    def _raise(self, frame: FrameType | None) -> NoReturn:
        if _is_importing(frame):
            with suppress(Exception):
                self.last_word()
            end_at_once()
        self.pending = True
        _set_timer(_REPEAT)
        raise KeyboardInterrupt

    def on_timer(self, number: int, frame: FrameType | None) -> None:
        """Repeats a request, unless its exception is on its way, or requests are another handler's meanwhile."""
        is_handled_here = signal.getsignal(signal.SIGTERM) == self.on_request
        if self.pending and is_handled_here and not _is_interrupt(sys.exception()):
            self._raise(frame)

    def settle(self) -> bool:
        """True if there has been a request, which is not repeated any more."""
        _set_timer(0.0)
        was_pending, self.pending = self.pending, False
        return was_pending

    def end_at_once_from_here(self) -> None:
        """A request while a run says its last words ends the process.

        In one of torchrun it does nothing: that is how torchrun ends what is left of a run of which a process failed,
        and this one has ended.
        """
        _handle_requests(_ignore_request if torchrun.was_started() else _on_request_end_at_once)
        self.settle()


@contextmanager
def as_exceptions() -> Iterator[Requests]:
    """Within the block a request raises KeyboardInterrupt, sooner or later, until :meth:`Requests.settle`."""
    requests = Requests()
    before: dict[int, Any] = _handle_requests(requests.on_request)
    if hasattr(signal, "SIGALRM"):
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, requests.on_timer)
    hook = sys.unraisablehook

    def on_unraisable(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):  # which is repeated
            hook(unraisable)

    sys.unraisablehook = on_unraisable
    try:
        yield requests
    finally:
        requests.settle()
        sys.unraisablehook = hook
        if not torchrun.was_started():  # see end_at_once_from_here
            _restore(before)


def say_before_end(last_word: Callable[[], object]) -> None:
    """Has ``last_word`` called where a request is about to end the process without exceptions, by which others that
    work with it would hear of it.
    """
    for requests in _requests_of(signal.getsignal(kind) for kind in _REQUESTS):
        requests.last_word = last_word


class Interrupt:
    """A user's request to end the run."""

    requested = False


@contextmanager
def deferred_interrupt(patience: float | None = None) -> Iterator[Interrupt]:
    """Within the block the first Ctrl-C (or SIGTERM) only sets a flag, so that what is being written can be finished.

    The second one interrupts as usual.

    Args:
        patience: seconds from the first within which others are the same one; None: none, but a few in a process of
            torchrun, which tells its own once more where every process is told to end.
    """
    interrupt = Interrupt()
    since = 0.0
    patience = _patience() if patience is None else patience

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if not interrupt.requested:
            interrupt.requested, since = True, time.monotonic()
        elif time.monotonic() - since >= patience:
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():  # others get no signals
        before = _handle_requests(on_signal)
    for requests in _requests_of(before.values()):
        if requests.settle():  # one that was swallowed before
            interrupt.requested, since = True, time.monotonic()
    try:
        yield interrupt
    finally:
        _restore(before)


@contextmanager
def postponed_interrupt() -> Iterator[None]:
    """Within the block a request waits for its end, where it is as any other. An error has precedence."""
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = _handle_requests(lambda number, frame: came.append(number))
    try:
        yield
    finally:
        _restore(before)
    if came:
        signal.raise_signal(came[0])


def ignore_from_here() -> None:
    """Requests do nothing any more: this process is ending, for a reason that it has yet to say."""
    if threading.current_thread() is threading.main_thread():
        _handle_requests(_ignore_request)


def _patience() -> float:
    return PATIENCE if torchrun.was_started() else 0.0


def _ignore_request(number: int, frame: FrameType | None) -> None:
    pass


def _is_interrupt(error: BaseException | None) -> bool:
    """True for KeyboardInterrupt, and for what it has led to."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _handle_requests(handler: _Handler) -> dict[int, Any]:
    """Sets the handler of requests, and gives those before. A shell ignores Ctrl-C for what is in its background."""
    kinds = [kind for kind in _REQUESTS if kind != signal.SIGINT or signal.getsignal(kind) is not signal.SIG_IGN]
    return {kind: signal.signal(kind, handler) for kind in kinds}


def _requests_of(handlers: Iterable[Any]) -> Iterator[Requests]:
    for handler in handlers:
        requests = getattr(handler, "__self__", None)
        if isinstance(requests, Requests):
            yield requests


def _restore(handlers: dict[int, Any]) -> None:
    for kind, handler in handlers.items():
        signal.signal(kind, handler)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _set_timer(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)


def end_at_once() -> NoReturn:
    """Ends the process without exceptions, exit handlers and other threads: those may be in any state.

    Of the processes of a run the main one says so.
    """
    with suppress(Exception):  # where it is what was interrupted
        sys.stdout.flush()
    # A progress bar hides the cursor.
    cursor = "\x1b[?25h" if os.isatty(2) else ""
    if torchrun.is_main():
        with suppress(OSError):
            os.write(2, f"{cursor}{program_name()}: interrupted\n".encode(errors="backslashreplace"))
    os._exit(STATUS)


def _on_request_end_at_once(number: int, frame: FrameType | None) -> None:
    end_at_once()
