"""Brings WFLW-V to disk in its published layout: id lists, boxes, landmarks, and the videos, cut and checked."""

import os
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run by its path, Python looks for modules beside this file; run as a module of the repository, it finds them all.
    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "utils.download_WFLW_V", *sys.argv[1:]])

import argparse
from collections.abc import Sequence

from datasets.wflw_v import SPLITS
from datasets.wflw_v.download.report import NAME
from datasets.wflw_v.download.run import Settings, Summary, download
from datasets.wflw_v.download.sources import Sources, read_sources
from ldeq import InputError, terminal
from ldeq.command_line import ArgumentParser, add_boolean, at_least, run
from utils.download.backend import BACKENDS
from utils.download.flags import add_connection_flags, connection_of, patience_of


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        f"{__doc__} Run it again to go on: what is complete and checked is left as it is. {NAME} in the output folder "
        "says what became of each video. Exit status: 0 if all are there, 1 if some could not be had, 2 for bad input.",
        ids_flag="--videos",
    )
    parser.add_argument("--output_folder", required=True, metavar="DIR", help="where the data set goes")
    parser.add_argument("--n_processes", type=at_least(1), default=4, help="videos at a time")
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
        help="what downloads from YouTube; pytube is unmaintained since 2023, and knows no cookies and rate limits",
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
    """Downloads as the command line (or ``arguments``) says; status 1 where videos could not be had."""
    flags = make_parser().parse(arguments)
    summary = download(Path(flags.output_folder), settings_of(flags), flags.WFLW_V_split, flags.videos)
    print_summary(summary, flags.output_folder)
    if summary.n_complete < len(summary.ids):
        sys.exit(1)


def settings_of(flags: argparse.Namespace) -> Settings:
    """The settings that the flags say.

    Raises:
        InputError: where flags contradict each other.
    """
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
        patience=patience_of(flags),
        recheck=flags.recheck,
    )


def print_summary(summary: Summary, folder: str) -> None:
    out = terminal.console()
    counts = summary.report.counts(summary.ids)
    if counts:
        rows = [[kind.value, kind.advice, n] for kind, n in counts.most_common()]
        out.print(terminal.table("Videos that could not be had", ["reason", "what helps", "videos"], rows, n_words=2))
    new = summary.n_complete - summary.n_complete_before
    there = f"{summary.n_complete} of {len(summary.ids)} videos are there and checked ({new} new)."
    if summary.n_left_out:
        terminal.print_lines(out, [f"{summary.n_left_out} that the archive lacks were left out: --source youtube"])
    terminal.print_lines(out, [there, f"WFLW-V is in {folder}, what became of each video in {Path(folder) / NAME}"])


if __name__ == "__main__":
    run(main)
