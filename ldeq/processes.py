"""Processes that share out the work of one run, as ``torchrun`` starts them; a process alone needs nothing of it.

They may be on several machines. Which of them does what is decided as they go: each takes the next piece of work when
it is free. The results of all go to the main process, which alone writes and speaks. Where one ends before its time,
however it does, the main one learns of it at once, as the connection between the two ends with it; and the other way
round.
"""

import json
import os
import queue
import secrets
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum, auto
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ldeq import interrupts, torchrun
from ldeq.errors import InputError, reason_of, sentence_of

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")
U = TypeVar("U")

#: Seconds within which all processes have to come, having started their interpreters.
_TO_JOIN = 600.0
#: Seconds that the others may take to come where the main one has an error at once, which it is to tell them of.
_TO_COME = 5.0
#: Seconds that the processes of a run which is ending may take to finish what they are at: torchrun waits for 30.
_TO_END = 25.0
#: Seconds in which a process hears of what has happened to another one.
_TO_HEAR = 1.0
#: Seconds between looks at what is waited for.
_PAUSE = 0.1


class ProcessLost(InputError):
    """Another process of the run has ended before its time, and could not say why."""


class _Word(Enum):
    """The kinds of messages between processes."""

    #: From the main process: something that all are to know; or that the run is ending.
    NEWS = auto()
    STOP = auto()
    #: To the main process: a result; that there are no more; or why there are no more.
    REPORT = auto()
    DONE = auto()
    FAILED = auto()
    INTERRUPTED = auto()
    #: Of no message: the connection has ended.
    GONE = auto()


class _Stopped(Exception):
    """The run is ending, and not for what this process was doing."""


class Processes:
    """The processes of a run, as one of them sees them. This one is alone, and does all of the work."""

    size = 1
    #: True in the process that writes and speaks.
    is_main = True
    _flag = False

    def from_main(self, make: Callable[[], T]) -> T:
        """Calls ``make`` in the main process, and gives its result (anything that can be pickled) to all."""
        return make()

    def main_first(self, make: Callable[[], T]) -> T:
        """Calls ``make`` in each process, in the others once the main one has made its own: what that has downloaded
        they find.
        """
        return self.alike(lambda _: make(), lambda _: None)

    def alike(self, make: Callable[[U | None], T], choice: Callable[[T], U]) -> T:
        """As :meth:`main_first`, with choices of the main process's.

        Args:
            make: takes None in the main process, which chooses, and its choice in the others.
            choice: that which was made in making (anything that can be pickled).
        """
        return make(None)

    def shared_out(self, items: Sequence[T], dealt: int = 0) -> Iterator[T]:
        """The items that this process is to do; each item is one process's, which takes it when it asks for it.

        Args:
            items: the same in all processes.
            dealt: the number of items that each process has from the start, dealt like cards, so that one that begins
                with several at once does not take those of the others.
        """
        return iter(items)

    @contextmanager
    def reports(self, handle: Callable[[T], None]) -> Iterator[Callable[[T], None]]:
        """Gives a function by which results go to ``handle``, which is called in the main process alone.

        At the end of the block the main process has handled the results of all. Where it ends by an error, so do the
        others, and those results are handled that they had finished by then.

        Args:
            handle: takes what can be pickled; each result is handled once, in the main thread, and not interrupted.

        Raises:
            InputError: where another process has raised an error.
            ProcessLost: where another process was lost.
            KeyboardInterrupt: where any process was asked to end.
        """
        yield handle

    def raise_flag(self) -> None:
        """Lets all processes know of something, of which there is one in a run: :attr:`flag_is_up` from here."""
        self._flag = True

    @property
    def flag_is_up(self) -> bool:
        """True once any process has raised the flag."""
        return self._flag


@contextmanager
def joined(device: str, advice: str = "") -> Iterator[Processes]:
    """Within the block this process is one of those that ``torchrun`` started, or alone where it started none.

    An error in any of them ends them all, and the main process says its sentence. Each has its own GPU where
    ``device`` gives GPUs, and its part of the machine's cores.

    Args:
        advice: what to do where the main process was lost, as the end of a sentence.

    Raises:
        InputError: where the others cannot be reached, or there is no such device for each.
    """
    size = torchrun.number_of_processes()
    if size == 1:
        yield Processes()
        return
    torchrun.end_with_torchrun()
    store = _store()
    processes = _Main(store, size) if torchrun.is_main() else _Other(store, size, advice)
    interrupts.say_before_end(processes.say_interrupted)
    with processes.ending_together():
        _take_own_part(device)
        yield processes


class _Several(Processes):
    """One of several processes.

    Args:
        store: has what needs no process to answer: how much is done, and how to reach the main one.
        counts: what the counters in it begin with; a word of this run's alone, as there may be those of another.
    """

    def __init__(self, store: "Store", size: int, counts: str) -> None:
        self.size = size
        self._store = store
        self._counts = counts
        self._rank = torchrun.rank()
        self._n_queues = 0

    def shared_out(self, items: Sequence[T], dealt: int = 0) -> Iterator[T]:
        self._n_queues += 1
        return self._take(items, dealt, f"taken {self._n_queues}")

    def _take(self, items: Sequence[T], dealt: int, counter: str) -> Iterator[T]:
        yield from items[self._rank : dealt * self.size : self.size]
        while (index := dealt * self.size + self._count(counter, 1) - 1) < len(items):
            yield items[index]

    def _count(self, counter: str, more: int) -> int:
        """What a counter of all processes is at, after ``more``."""
        try:
            return self._store.add(f"{self._counts} {counter}", more)
        except RuntimeError:  # it has ended with the process or the torchrun that had it
            raise _Stopped from None

    def raise_flag(self) -> None:
        self._count("flag", 1)

    @property
    def flag_is_up(self) -> bool:
        return self._count("flag", 0) > 0


class _Main(_Several):
    """The main one of several processes.

    Its ends of the connections stay open until it has ended, so that the others can wait for that: what ends first
    with an error makes torchrun end the rest, who would have no time for their last words.
    """

    def __init__(self, store: "Store", size: int) -> None:
        super().__init__(store, size, secrets.token_hex(16))
        #: The ranks of the others: of those that are there, and of those that have more to do.
        self._there = set(range(1, size))
        self._at_work = set(self._there)
        #: By rank, as are the names of the machines of the others.
        self._connections: dict[int, Connection[Any, Any]] = {}
        self._hosts: dict[int, str] = {}
        self._all_there = threading.Event()
        # No SimpleQueue, whose timeout becomes none at all where a signal comes at its end (Python 3.11 and 3.12).
        self._received: queue.Queue[tuple[int, _Word, Any]] = queue.Queue()
        #: Why the run is ending, where that came with a result or in place of one.
        self._reason: InputError | None = None
        is_one_machine = torchrun.number_on_this_machine() == size
        key = secrets.token_bytes(32)
        self._listener = Listener(("127.0.0.1" if is_one_machine else "", 0), backlog=size, authkey=key)
        hosts = ["127.0.0.1"] if is_one_machine else [os.environ["MASTER_ADDR"], socket.getfqdn(), socket.gethostname()]
        to_reach_it = {"hosts": hosts, "port": self._listener.address[1], "key": key.hex(), "counts": self._counts}
        store.set("main", json.dumps(to_reach_it))
        store.add("main is there", 1)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while len(self._connections) < self.size - 1:
            try:
                connection = self._listener.accept()
                rank, host = connection.recv()
            except (AuthenticationError, EOFError, OSError):  # somebody else, who looks for open ports
                continue
            _keep_alive(connection)
            self._connections[rank], self._hosts[rank] = connection, host
            threading.Thread(target=self._receive, args=(rank, connection), daemon=True).start()
        self._all_there.set()

    def _receive(self, rank: int, connection: "Connection[Any, Any]") -> None:
        """Takes messages in as they come, so that nobody waits for the main thread to have time for them."""
        try:
            while True:
                self._received.put((rank, *connection.recv()))
        except Exception:  # the end, perhaps in the middle of a message
            self._received.put((rank, _Word.GONE, None))

    def _tell(self, word: _Word, content: object = None) -> None:
        for connection in self._connections.values():
            with suppress(OSError):  # one that is gone
                connection.send((word, content))

    def say_interrupted(self) -> None:
        """Lets the others know that this one ends, and why."""
        self._tell(_Word.STOP)

    def from_main(self, make: Callable[[], T]) -> T:
        made = make()
        since = time.monotonic()
        while not self._all_there.wait(_PAUSE):
            if time.monotonic() - since > _TO_JOIN:
                raise InputError(
                    f"{self.size - 1 - len(self._connections)} of {self.size} processes have not come within "
                    f"{_TO_JOIN / 60:.0f} minutes, expected all of them to be started and to reach this machine"
                )
        with interrupts.postponed_interrupt():
            self._tell(_Word.NEWS, made)
        return made

    def alike(self, make: Callable[[U | None], T], choice: Callable[[T], U]) -> T:
        made = make(None)
        self.from_main(lambda: choice(made))
        return made

    @contextmanager
    def reports(self, handle: Callable[[T], None]) -> Iterator[Callable[[T], None]]:
        def report(result: T) -> None:
            try:
                with interrupts.postponed_interrupt():
                    handle(result)
                    while not self._received.empty():
                        self._hear(handle)
            except InputError as error:
                # Who reports a result of some input would take it for an error of that input.
                self._reason = self._reason or error
                raise _Stopped from None

        try:
            yield report
            while self._at_work:
                with interrupts.postponed_interrupt(), suppress(queue.Empty):
                    self._hear(handle, _PAUSE)
            self._tell(_Word.NEWS)
        except BaseException as error:
            interrupts.ignore_from_here()
            self._end_others(handle, error)
        finally:
            self._there.clear()  # what becomes of them from here on does not matter

    def _hear(self, handle: Callable[[T], None], timeout: float = 0.0) -> None:
        """Takes in one message."""
        rank, word, content = self._received.get(timeout=timeout)
        if word is _Word.REPORT:
            handle(content)
        elif word is _Word.DONE:
            self._at_work.discard(rank)
        elif rank in self._there:
            self._there.discard(rank)
            self._at_work.discard(rank)
            host = self._hosts[rank]
            if word is _Word.INTERRUPTED:
                raise KeyboardInterrupt(*content)
            if word is _Word.FAILED:
                raise InputError(content if host == socket.gethostname() else f"{host}: {content}")
            raise ProcessLost(
                f"one of {self.size} processes (rank {rank} on {host}) has ended before its time (killed, or memory "
                "was full), expected all of them to live until the end of the run"
            )

    def _end_others(self, handle: Callable[[T], None], error: BaseException) -> NoReturn:
        """Ends a run for an error: others stop, and what they had finished is handled."""
        self._tell(_Word.STOP)
        # Where one has ended, torchrun ends the rest as it does where a user asks for the end: before this one has
        # heard of it, or after, in the middle of what an error has to pass.
        if isinstance(error, KeyboardInterrupt | _Stopped) and self._reason is not None:
            error = self._reason
        words = list(error.args) if isinstance(error, KeyboardInterrupt) else []
        until = time.monotonic() + _TO_END
        while self._at_work and time.monotonic() < until:
            try:
                self._hear(handle, _PAUSE)
            except queue.Empty:
                pass
            except KeyboardInterrupt as interrupt:
                words += interrupt.args
            except InputError as reason:
                error = reason if isinstance(error, KeyboardInterrupt) else error
            except Exception:  # one sentence is enough
                pass
        raise KeyboardInterrupt("; ".join(map(str, words))) if words and isinstance(error, KeyboardInterrupt) else error

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """Within the block an error ends the others, if they have not ended before."""
        try:
            yield
        except KeyboardInterrupt:
            self._tell(_Word.STOP)
            with suppress(queue.Empty):
                while self._there:  # unless the end of one of them is why torchrun ends this one
                    self._hear(lambda result: None, _TO_HEAR)
            raise
        except BaseException:
            self._all_there.wait(_TO_COME)
            self._tell(_Word.STOP)
            raise


class _Other(_Several):
    """One of several processes that is not the main one."""

    is_main = False

    def __init__(self, store: "Store", size: int, advice: str) -> None:
        main = _whereabouts(store)
        super().__init__(store, size, main["counts"])
        self._advice = advice
        #: Whether the main process has said that it is ending.
        self._was_told = False
        self._connection = _connected(main)
        _keep_alive(self._connection)
        self._connection.send((self._rank, socket.gethostname()))

    def _hear(self) -> Any:
        """What the main process says next."""
        try:
            while not self._connection.poll(_PAUSE):
                pass
            word, content = self._connection.recv()
        except (EOFError, OSError):
            raise _Stopped from None
        if word is _Word.STOP:
            self._was_told = True
            raise _Stopped
        return content

    def _say(self, word: _Word, content: object = None) -> None:
        try:
            self._connection.send((word, content))
        except OSError:
            raise _Stopped from None

    def say_interrupted(self, *words: object) -> None:
        """Lets the main process know that this one ends, and why."""
        self._say(_Word.INTERRUPTED, words)

    def from_main(self, make: Callable[[], T]) -> T:
        told: T = self._hear()
        return told

    def alike(self, make: Callable[[U | None], T], choice: Callable[[T], U]) -> T:
        return make(self._hear())

    @contextmanager
    def reports(self, handle: Callable[[T], None]) -> Iterator[Callable[[T], None]]:
        def report(result: T) -> None:
            with interrupts.postponed_interrupt():
                if self._connection.poll():
                    self._hear()
                self._say(_Word.REPORT, result)

        yield report
        self._say(_Word.DONE)
        self._hear()  # that all are done: else this one has to say that the main one was lost

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """Within the block an error becomes the main process's; this one ends after it, without a word."""
        try:
            yield
        except BaseException as error:
            interrupts.ignore_from_here()
            self._end_after_main(error)

    def _end_after_main(self, error: BaseException) -> NoReturn:
        status = 1
        with suppress(_Stopped):
            if isinstance(error, KeyboardInterrupt):
                status = interrupts.STATUS
                self.say_interrupted(*error.args)
            elif isinstance(error, Exception) and not isinstance(error, _Stopped):
                sentence = sentence_of(error)
                status = 1 if sentence is None else 2
                if sentence is None:
                    traceback.print_exception(error)
                    kind = type(error).__name__
                    sentence = (
                        f"the process of rank {self._rank} has ended with a {kind}, which is a fault of the program"
                    )
                self._say(_Word.FAILED, sentence)
            else:
                self._say(_Word.DONE)
        until = time.monotonic() + _TO_END
        with suppress(_Stopped):
            while time.monotonic() < until:
                if self._connection.poll(_PAUSE):
                    self._hear_until_end()
        # On each machine one of those that are left speaks for them.
        if not self._was_told and (self._rank == 1 or torchrun.local_rank() == 0):
            raise ProcessLost(
                f"the main one of {self.size} processes has ended before its time (killed, or memory was full), "
                f"expected all of them to live until the end of the run{self._advice and f'; {self._advice}'}"
            ) from None
        sys.exit(status)

    def _hear_until_end(self) -> None:
        """Takes in what the main process says, until it has ended, when :class:`_Stopped` is raised."""
        try:
            word, _ = self._connection.recv()
        except (EOFError, OSError):
            raise _Stopped from None
        self._was_told |= word is _Word.STOP


def _store() -> "Store":
    """The store of keys and values that the processes share, which is torchrun's or else the main process's."""
    import torch.distributed as dist

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if not dist.is_available():
        raise InputError(f"WORLD_SIZE = {os.environ['WORLD_SIZE']}, expected a PyTorch with torch.distributed for it")
    is_ours = torchrun.is_main() and not torchrun.has_store()
    try:
        if not is_ours:
            _await_listener(host, port)
        # Not by torch.distributed.rendezvous, which waits for all processes and cannot be interrupted meanwhile.
        store = dist.TCPStore(  # type: ignore[attr-defined]
            host, port, is_master=is_ours, wait_for_workers=False, multi_tenant=True
        )
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        raise InputError(
            f"the processes cannot meet at {host}:{port} ({reason_of(error)}), expected MASTER_ADDR and MASTER_PORT of "
            "the main one"
        ) from None
    # torchrun's has all that earlier attempts of the run have left in it.
    return dist.PrefixStore(f"ldeq {torchrun.attempt()}", store)  # type: ignore[attr-defined]


def _await_listener(host: str, port: int) -> None:
    """Returns once somebody listens at a port.

    Raises:
        OSError: where nobody does in time, or there is no such host.
    """
    since = time.monotonic()
    while True:
        try:
            socket.create_connection((host, port), timeout=_TO_HEAR).close()
            return
        except (ConnectionRefusedError, TimeoutError):  # the main process may come later
            if time.monotonic() - since > _TO_JOIN:
                raise
            time.sleep(_PAUSE)


def _whereabouts(store: "Store") -> dict[str, Any]:
    """What the main process has told of itself, once it is there."""
    since = time.monotonic()
    try:
        while not store.add("main is there", 0):
            time.sleep(_PAUSE)
            if time.monotonic() - since > _TO_JOIN:
                raise InputError(f"the process of rank 0 has not come within {_TO_JOIN / 60:.0f} minutes, expected one")
        told: dict[str, Any] = json.loads(store.get("main"))
    except RuntimeError:
        raise InputError("the main process has ended before the others could reach it, expected it to live") from None
    return told


def _connected(main: dict[str, Any]) -> "Connection[Any, Any]":
    """A connection to the main process."""
    for host in main["hosts"]:
        with suppress(OSError, EOFError, AuthenticationError):
            return Client((host, main["port"]), authkey=bytes.fromhex(main["key"]))
    raise InputError(
        f"the main process cannot be reached at port {main['port']} of {' or '.join(main['hosts'])}, expected the "
        "machines of a run to reach each other at any port"
    )


def _keep_alive(connection: "Connection[Any, Any]") -> None:
    """Has the system look whether the machine at the other end is still there, where nothing else is said for long."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6)):
                end.setsockopt(socket.IPPROTO_TCP, option, value)


def _take_own_part(device: str) -> None:
    """Claims this process's GPU and cores."""
    import cv2
    import torch

    from ldeq.device import local_device

    local_device(device)
    torch.set_num_threads(torchrun.n_threads())
    cv2.setNumThreads(torchrun.n_threads())
