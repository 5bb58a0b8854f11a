"""Checks a folder of pre-cropped WFLW: every line of its lists, and that every image decodes and has its size."""

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

from collections.abc import Sequence
from pathlib import Path

from datasets.wflw.splits import SPLITS, TRAIN
from ldeq import InputError, run_folder, terminal
from ldeq.command_line import MOST_WORKERS, ArgumentParser, add_output_flag, at_least, run

SCRIPT = "check_WFLW"


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        f"{__doc__} Prints a line a problem, and leaves a contact sheet of faces with their landmarks. Exit status: 0 "
        "if there is no problem, 1 if there are some, 2 if there is nothing that could be checked.",
        prog="python -m datasets.wflw",
    )
    parser.add_argument("dataset_path", metavar="ROOT", help="folder with <split>.txt and <split>/<file name>")
    parser.add_argument(
        "--split",
        nargs="+",
        action="extend",
        metavar="SPLIT",
        help=f"only these splits; if not given, those that it has lists of, of {', '.join((TRAIN, *SPLITS))}",
    )
    parser.add_argument(
        "--workers", type=at_least(1, MOST_WORKERS), default=4, metavar="N", help="threads that decode images"
    )
    add_output_flag(parser, SCRIPT)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Checks as the command line (or ``arguments``) says; exit status 1 where there are problems."""
    flags = make_parser().parse(arguments)
    from datasets.wflw.precropped import find_wflw  # --help answers without it

    root = find_wflw(flags.dataset_path, *flags.split or ())
    known = (TRAIN, *SPLITS)
    splits = list(dict.fromkeys(flags.split or [name for name in known if (root / f"{name}.txt").is_file()]))
    if not splits:
        raise InputError(f"{root}: has no list of faces, expected some of {', '.join(f'{name}.txt' for name in known)}")
    without = [name for name in known if name not in splits] if not flags.split else []
    with run_folder.output_folder(flags.output_dir, SCRIPT) as folder:
        check(root, splits, without, flags.workers, folder)


def check(root: Path, splits: Sequence[str], without: Sequence[str], workers: int, folder: Path) -> None:
    """Checks some splits, and says so of those that there are no lists of."""
    from datasets.checking import SHEET, end_check, write_sheet
    from datasets.wflw.check import check_split, sheet_row

    checks = [check_split(root, split, workers) for split in splits]
    rows = [row for found in checks if (row := sheet_row(found))]
    if rows:
        write_sheet(folder / SHEET, rows)
    counts = [[found.split, found.n_listed, len(found.problems), found.n_unlisted] for found in checks]
    end_check(
        terminal.table("WFLW", ["split", "faces", "problems", "files not listed"], counts),
        [problem for found in checks for problem in found.problems],
        [
            f"There are no lists of {', '.join(without)}." if without else None,
            f"Faces with their landmarks are in {folder / SHEET}" if rows else None,
        ],
    )


if __name__ == "__main__":
    run(main)
