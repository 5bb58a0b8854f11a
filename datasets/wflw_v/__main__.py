"""Checks a folder of WFLW-V: every file of boxes and landmarks, and that every video decodes and has their frames."""

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

from collections.abc import Sequence
from pathlib import Path

from ldeq import run_folder, terminal
from ldeq.command_line import MOST_WORKERS, ArgumentParser, add_output_flag, at_least, run

SCRIPT = "check_WFLW_V"


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        f"{__doc__} Prints a line a problem, and leaves a contact sheet of frames with their landmarks and boxes. Exit "
        "status: 0 if there is no problem, 1 if there are some, 2 if there is nothing that could be checked.",
        prog="python -m datasets.wflw_v",
    )
    parser.add_argument("dataset_path", metavar="ROOT", help="folder with bboxes/, landmarks/ and videos/")
    parser.add_argument(
        "--workers", type=at_least(1, MOST_WORKERS), default=4, metavar="N", help="threads that decode videos"
    )
    add_output_flag(parser, SCRIPT)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Checks as the command line (or ``arguments``) says; exit status 1 where there are problems."""
    flags = make_parser().parse(arguments)
    from datasets.wflw_v.ids import annotated_ids, find_wflw_v  # --help answers without it

    root = find_wflw_v(flags.dataset_path)
    annotated_ids(root)  # where there are none there is nothing to check
    with run_folder.output_folder(flags.output_dir, SCRIPT) as folder:
        check(root, flags.workers, folder)


def check(root: Path, workers: int, folder: Path) -> None:
    """Checks the videos of all lists and files."""
    from datasets.checking import SHEET, end_check, spread, write_sheet
    from datasets.wflw_v.check import SHOWN, check_clips, listed_ids, sheet_row

    lists, problems = listed_ids(root)
    checks = check_clips(root, lists["all"], workers)
    sound = [id for id, found in checks.items() if not found.problems]
    if sound:
        write_sheet(folder / SHEET, [sheet_row(root, sound[index]) for index in spread(len(sound), SHOWN)])
    counts = [
        [name, len(ids), sum(checks[id].n_frames for id in ids), sum(bool(checks[id].problems) for id in ids)]
        for name, ids in lists.items()
    ]
    end_check(
        terminal.table("WFLW-V", ["videos", "number", "frames annotated", "with problems"], counts),
        [*problems, *(problem for found in checks.values() for problem in found.problems)],
        [f"Frames with their landmarks and boxes are in {folder / SHEET}" if sound else None],
    )


if __name__ == "__main__":
    run(main)
