"""Downloads WFLW-V in its published layout: id lists, bboxes, landmarks, and the videos, cut and checked."""

import os
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run by its path, Python looks for modules beside this file; run as a module of the repository, it finds them all.
    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "utils.download_WFLW_V", *sys.argv[1:]])

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasets.wflw_v import SPLITS
from datasets.wflw_v.download.paths import REPORT
from ldeq import InputError, terminal
from ldeq.command_line import MOST_WORKERS, ArgumentParser, add_boolean, at_least, run
from utils.download.backend import BACKENDS
from utils.download.flags import add_connection_flags, connection_of, retry_policy_of

if TYPE_CHECKING:  # imported by functions, so that --help answers at once
    from datasets.wflw_v.download.run import Settings, Summary

#: Columns of the terminal that the table of failures takes up, which then fits wherever it is read.
_TABLE_WIDTH = 80


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        f"{__doc__} Run it again to go on: files that are complete and checked stay. {REPORT} in the output "
        "folder has the outcome of each video. Exit status: 0 if all are complete, 1 if some are not, 2 for bad input.",
        ids_flag="--videos",
    )
    parser.add_argument("--output_folder", required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument("--n_processes", type=at_least(1, MOST_WORKERS), default=4, help="videos at a time")
    parser.add_argument(
        "--source",
        choices=("youtube", "archive"),
        default="youtube",
        help="youtube: each video from its site; archive: the whole data set in one file from Google Drive",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default=BACKENDS[0],
        help="library that downloads from YouTube; pytube is unmaintained since 2023, without cookies and rate limits",
    )
    parser.add_argument("--WFLW_V_split", choices=(*SPLITS, "all"), default="all", help="which id list")
    parser.add_argument("--videos", action="append", metavar="ID ...", help="only these videos of the split")
    add_boolean(parser, "--recheck", "decode and check clips again that an earlier run has checked")
    parser.add_argument(
        "--sources",
        metavar="FILE",
        help="JSON with other addresses for some of lists, bboxes, landmarks, archive and video (see the README)",
    )
    add_connection_flags(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Downloads as the command line (or ``arguments``) says; exit status 1 where videos are not complete."""
    flags = make_parser().parse(arguments)
    from datasets.wflw_v.download.run import download

    summary = download(Path(flags.output_folder), settings_of(flags), flags.WFLW_V_split, flags.videos)
    print_summary(summary, flags.output_folder)
    if summary.n_complete < len(summary.ids):
        sys.exit(1)


def settings_of(flags: argparse.Namespace) -> "Settings":
    """The settings that the flags ask for.

    Raises:
        InputError: where flags contradict each other, or name a file that is missing or holds something else.
    """
    from datasets.wflw_v.download.run import Settings
    from datasets.wflw_v.download.sources import Sources, read_sources

    sources = read_sources(flags.sources) if flags.sources else Sources()
    if flags.backend == "pytube":
        without = ("cookies", "cookies_from_browser", "limit_rate")
        given = [f"--{name.replace('_', '-')}" for name in without if getattr(flags, name) is not None]
        if given:
            raise InputError(f"{', '.join(given)}: pytube does not know it, expected --backend yt-dlp")
    return Settings(
        source=flags.source,
        backend=flags.backend,
        n_processes=flags.n_processes,
        sources=sources,
        connection=connection_of(flags),
        retry_policy=retry_policy_of(flags),
        recheck=flags.recheck,
    )


def print_summary(summary: "Summary", folder: str) -> None:
    """Prints the number of failures of each kind, with advice, and the number of complete videos."""
    out = terminal.console()
    counts = summary.report.counts(summary.ids)
    if counts:
        rows = [[kind.value, kind.advice, n] for kind, n in counts.most_common()]
        table = terminal.table("Videos that are not complete", ["reason", "what helps", "videos"], rows, n_words=2)
        out.print(table, width=min(_TABLE_WIDTH, out.width))
    new = summary.n_complete - summary.n_complete_before
    complete = f"{summary.n_complete} of {len(summary.ids)} videos are complete and checked ({new} new)."
    if summary.n_left_out:
        terminal.print_lines(out, [f"{summary.n_left_out} that the archive lacks were left out: --source youtube"])
    terminal.print_lines(
        out, [complete, f"WFLW-V is in {folder}, the outcome of each video in {Path(folder) / REPORT}"]
    )


if __name__ == "__main__":
    run(main)
