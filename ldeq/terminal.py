"""What a run shows on the terminal: tables and lines on stdout, progress on stderr.

Whatever is shown may be out of a file: it is escaped here (:func:`ldeq.files.printable`) and never read as markup.
"""

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ldeq.files import printable

#: Columns of a table that goes to a file: those of a usual terminal.
FILE_WIDTH = 80
#: Seconds between a progress bar's lines where stderr is no terminal.
SECONDS_A_LINE = 30.0


def console() -> Console:
    """stdout. Paths and ids are printed as they are, without rich's markup, colours of numbers and emoji."""
    return Console(highlight=False, markup=False, emoji=False, width=None if _is_terminal(sys.stdout) else FILE_WIDTH)


def print_lines(out: Console, lines: Iterable[str | None]) -> None:
    """Prints the lines that there are, each unfolded, so that paths in them can be copied."""
    for line in filter(None, lines):
        out.print(printable(line), soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], n_words: int = 1) -> Table:
    """A table whose first ``n_words`` columns are words, which are folded where there is no room, and the rest
    figures, which are not.
    """
    made = Table(title=printable(title), title_justify="left")
    for index, column in enumerate(columns):
        is_figure = index >= n_words
        made.add_column(column, justify="right" if is_figure else "left", overflow="fold", no_wrap=is_figure)
    for row in rows:
        made.add_row(*[Text(printable(str(cell))) for cell in row])
    return made


class ProgressBar:
    """Progress of a run with its speed and the time left; where stderr is no terminal, a line now and then.

    Args:
        total: how many there are, None where that is not known.
        unit: what is counted, in the singular; ``B`` for bytes.
        description: what is being done.
        done: how many were done before.
        is_shown: false for one that only counts.
    """

    def __init__(self, total: int | None, unit: str, description: str, done: int = 0, *, is_shown: bool = True) -> None:
        self.n_done = done
        self._n_before = done
        self._total = total
        self._unit = unit
        self._description = printable(description)
        self._note = ""
        self._started = time.monotonic()
        self._said = self._started
        self._is_shown = is_shown
        self._stdout = sys.stdout
        self._is_below_stdout = _is_terminal(sys.stdout)
        self._bar: Progress | None = None
        if is_shown and _is_terminal(sys.stderr):
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                _Counts(self),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(stderr=True),
                # Lines that are printed go above the bar, but not to stderr where stdout is a file.
                redirect_stdout=self._is_below_stdout,
            )
            self._task: TaskID = self._bar.add_task(self._description, total=total, completed=done, note="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, n: int = 1) -> None:
        """``n`` more are done."""
        self.n_done += n
        if self._bar is not None:
            self._bar.update(self._task, completed=self.n_done)
        elif self._is_shown and sys.stderr is not None and time.monotonic() - self._said >= SECONDS_A_LINE:
            self._said = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def advance_to(self, n: int, total: int | None) -> None:
        """``n`` of ``total`` are done."""
        self._total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total)
        self.advance(n - self.n_done)

    def describe(self, description: str) -> None:
        """Says what is being done now."""
        self._description = printable(description)
        if self._bar is not None:
            self._bar.update(self._task, description=self._description)

    def note(self, text: str) -> None:
        """Shows some words behind the bar."""
        self._note = printable(text)
        if self._bar is not None:
            self._bar.update(self._task, note=self._note)

    def print_above(self, text: str) -> None:
        """Prints text, ends of lines and all, on stdout as it was when the bar was made. Its lines are not folded."""
        if self._bar is not None and self._is_below_stdout:
            self._bar.console.print(Text(text), end="", soft_wrap=True)
        else:
            print(text, end="", file=self._stdout, flush=True)

    def counts(self) -> str:
        """How many of how many are done, and how fast."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (self.n_done - self._n_before) / seconds
        if self._unit == "B":
            of = f"/{self._total / 1e6:.1f}" if self._total else ""
            return f"{self.n_done / 1e6:.1f}{of} MB, {rate / 1e6:.1f} MB/s"
        of = f"/{self._total}" if self._total is not None else ""
        speed = f"{rate:.1f} {self._unit}s/s" if rate >= 1 or not rate else f"{1 / rate:.1f} s/{self._unit}"
        return f"{self.n_done}{of} {self._unit}s, {speed}"

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        left = ""
        made = self.n_done - self._n_before
        if self._total and made:
            left = f", {_clock(elapsed * (self._total - self.n_done) / made)} left"
        return f"{self._description}: {self.counts()}, {_clock(elapsed)}{left}" + (
            f", {self._note}" if self._note else ""
        )


class _Counts(ProgressColumn):
    """The bar's counts and speed, which rich has for bytes alone."""

    def __init__(self, bar: ProgressBar) -> None:
        super().__init__()
        self._progress_bar = bar

    def render(self, task: Task) -> Text:
        return Text(self._progress_bar.counts())


def _is_terminal(stream: TextIO | None) -> bool:
    """False also where there is none, since it was closed from the start."""
    return stream is not None and stream.isatty()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
