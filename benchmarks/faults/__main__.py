"""Puts faults in by chance, and counts what the programs do with them: ``python -m benchmarks.faults --rounds 500``.

Inputs of every kind are spoilt (archives of every format among them), and runs are killed, asked to end, or started
twice in one folder. Exit status: 0 where every fault was met as it should be, 1 where some were not.
"""

import sys
from collections.abc import Sequence

from benchmarks.faults import kills, spoilt
from ldeq.command_line import ArgumentParser, at_least, number_within, run
from ldeq.terminal import console, print_lines, table

MOST_ROUNDS = 1_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the rounds and prints their numbers, and what went wrong."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--rounds", type=at_least(0, MOST_ROUNDS), default=100, metavar="N", help="inputs to spoil")
    parser.add_argument("--runs", type=at_least(0, MOST_ROUNDS), default=20, metavar="N", help="runs to kill and so on")
    parser.add_argument(
        "--longest", type=number_within(0.5, 600), default=12.0, metavar="S", help="seconds of such a run"
    )
    parser.add_argument("--only", default="", metavar="WORDS", help="spoil inputs that have these words in their names")
    parser.add_argument("--seed", type=at_least(0, 2**32), default=0, metavar="N", help="of what happens")
    flags = parser.parse(arguments)
    screen, problems = console(), list[str]()
    if flags.rounds:
        counts, problems = spoilt.try_rounds(flags.rounds, flags.seed, flags.only)
        outcomes = (spoilt.ON, spoilt.REFUSED, spoilt.WRONG)
        rows = [[name, *(count[outcome] for outcome in outcomes)] for name, count in counts.items()]
        screen.print(table("Spoilt inputs", ["input", *outcomes], rows))
    if flags.runs:
        numbers, found = kills.try_rounds(flags.runs, flags.longest, flags.seed)
        problems += found
        screen.print(table("Runs", ["program", *kills.KINDS], [[name, *row] for name, row in numbers.items()]))
    count = f"{flags.rounds} spoilt inputs and {flags.runs} runs, {len(problems)} problems."
    print_lines(screen, [*problems, count])
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
