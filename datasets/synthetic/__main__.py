"""Writes synthetic data sets that the evaluation and training scripts read as they read the real ones."""

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ldeq import InputError, terminal
from ldeq.command_line import MOST_WORKERS, ArgumentParser, at_least, number_within, run
from ldeq.fields import MOST_AT_A_TIME
from ldeq.folder_lock import held
from utils.engine.settings import HELD_OUT


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        "--output_dir", required=True, metavar="DIR", help="where the folders WFLW, WFLW_V and renderings go"
    )
    parser.add_argument("--train", type=at_least(0), default=0, metavar="N", help="images of WFLW's train split")
    parser.add_argument(
        "--test", type=at_least(0), default=0, metavar="N", help="held-out images of its test split and subsets"
    )
    parser.add_argument("--easy", type=at_least(0), default=0, metavar="N", help="calm videos in good light, held out")
    parser.add_argument(
        "--hard", type=at_least(0), default=0, metavar="N", help="videos with occlusion, blur and darkness, held out"
    )
    parser.add_argument(
        "--renderings",
        type=at_least(0),
        default=0,
        metavar="N",
        help="faces to train on by train_LDEQ.py --renderings DIR, which makes other crops and photographs of them "
        "each time; more than there are adds to them",
    )
    parser.add_argument(
        "--frames", type=at_least(2, MOST_AT_A_TIME), default=120, metavar="N", help="frames of a video"
    )
    parser.add_argument(
        "--images_per_person",
        type=at_least(1, MOST_AT_A_TIME),
        default=4,
        metavar="N",
        help="of the train split and of renderings; more are faster",
    )
    parser.add_argument(
        "--turned_heads",
        type=number_within(0, 1),
        default=0.0,
        metavar="X",
        help="share of the renderings turned by 40° to 75°, beside those that are in any case",
    )
    parser.add_argument(
        "--seed", type=at_least(0, 2**31 - 1), default=0, metavar="N", help="other seeds have other people"
    )
    parser.add_argument("--workers", type=at_least(1, MOST_WORKERS), default=2, metavar="N", help="processes that draw")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes what the command line (or ``arguments``) asks for."""
    flags = make_parser().parse(arguments)
    if not (flags.train or flags.test or flags.easy or flags.hard or flags.renderings):
        raise InputError("nothing to write, expected a number for --train, --test, --easy, --hard or --renderings")
    for name in ("train", "renderings"):
        if getattr(flags, name) and flags.seed >= HELD_OUT:
            raise InputError(
                f"--{name} with --seed {flags.seed}, expected less than {HELD_OUT}: from there on people are held out"
            )
    if flags.turned_heads and not flags.renderings:
        raise InputError("--turned_heads is of renderings, expected --renderings with it")

    from datasets.synthetic.writing import (
        check_images,
        check_renderings,
        check_videos,
        rendering_settings,
    )

    root = Path(flags.output_dir)
    images, videos = root / "WFLW", root / "WFLW_V"
    settings = rendering_settings(flags.seed, flags.images_per_person, flags.turned_heads)
    if flags.renderings:
        check_renderings(root, settings)
    for split in ("train", "test", "easy", "hard"):
        if getattr(flags, split):
            check, place = (check_images, images) if split in ("train", "test") else (check_videos, videos)
            check(place, split)
    with ExitStack() as stack:
        for place, counts in ((images, (flags.train, flags.test)), (videos, (flags.easy, flags.hard))):
            if any(counts):
                place.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(place))  # from the first split to the last
        _write(flags, settings)


def _write(flags: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    from datasets.synthetic.writing import write_images, write_renderings, write_videos

    root, seed, workers = Path(flags.output_dir), flags.seed, flags.workers
    images, videos = root / "WFLW", root / "WFLW_V"
    if flags.renderings:
        written = write_renderings(root, settings, flags.renderings, workers=workers)
        _follow(written, flags.renderings, "face", f"{root / 'renderings'}")
    if flags.train:
        train = write_images(
            images,
            "train",
            seed,
            flags.train,
            crop_jitter=1.0,
            images_per_person=flags.images_per_person,
            workers=workers,
        )
        _follow(train, flags.train, "face", f"{images / 'train'}")
    if flags.test:
        test = write_images(images, "test", HELD_OUT + seed, flags.test, workers=workers)
        _follow(test, flags.test, "face", f"{images / 'test'}")
    for split, count, difficulty in (("easy", flags.easy, 0.0), ("hard", flags.hard, 1.0)):
        if count:
            written = write_videos(
                videos, split, HELD_OUT + seed, count, n_frames=flags.frames, difficulty=difficulty, workers=workers
            )
            _follow(written, count, "video", f"{videos}, {split}")


def _follow(work: Iterator[int], total: int, unit: str, description: str) -> None:
    with terminal.ProgressBar(total, unit, description) as bar:
        for done in work:
            bar.advance(done)


if __name__ == "__main__":
    run(main)
