"""Iterating ahead, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetched(Generic[T]):
    """The same items in the same order, produced ahead by an executor.

    A chunk is consumed while the next one is being made, so at most two chunks exist, and an executor with any number
    of threads serves any number of iterators. Without an executor items are produced when asked for.

    An error in the producer is raised where its chunk would begin.
    """

    def __init__(self, items: Iterator[T], executor: Executor | None, chunk: int = 4) -> None:
        self._items = items
        self._executor = executor
        self._chunk = chunk
        self._ready: deque[T] = deque()
        self._next: Future[list[T]] | None = None
        if executor is not None:
            self._next = executor.submit(self._produce)

    def _produce(self) -> list[T]:
        return list(islice(self._items, self._chunk))

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._executor is None:
            return next(self._items)
        if not self._ready and self._next is not None:
            self._ready.extend(self._next.result())
            self._next = self._executor.submit(self._produce) if self._ready else None
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()


class Lookahead(Generic[T]):
    """The same items in the same order, of which the next few are known.

    An error in the producer is raised behind the items before it.

    Args:
        n_beside: how many may be known while there are some like this one.
    """

    def __init__(self, items: Iterator[T], n_beside: Callable[[T], int]) -> None:
        #: Those that follow the last one.
        self.upcoming: deque[T] = deque()
        self._items = items
        self._n_beside = n_beside
        self._n = 0
        self._end: Exception | None = None

    def begin(self) -> None:
        """Gets the first items.

        Raises:
            Exception: the producer's, where there is not even one item.
        """
        self._fill()
        if not self.upcoming and self._end is not None and not isinstance(self._end, StopIteration):
            raise self._end

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        self._fill()
        if not self.upcoming and self._end is not None:
            raise self._end
        return self.upcoming.popleft()

    def _fill(self) -> None:
        """Until there are one item to give and as many more as may be known."""
        while self._end is None and len(self.upcoming) <= self._n:
            try:
                item = next(self._items)
            except Exception as end:  # that of the items included
                self._end = end
            else:
                self.upcoming.append(item)
                self._n = self._n_beside(item)
