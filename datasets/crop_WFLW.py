"""Crops WFLW, as its authors publish it, into the layout that the evaluation reads: 256×256 faces, a list a split.

python -m datasets.crop_WFLW --images WFLW_images --annotations WFLW_annotations --output_folder WFLW
"""

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

from collections.abc import Sequence
from pathlib import Path

from datasets.wflw.splits import SPLITS, TRAIN
from ldeq import InputError, terminal
from ldeq.command_line import MOST_WORKERS, ArgumentParser, at_least, run
from ldeq.fields import first_of
from ldeq.folder_lock import held, remove_leftovers


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(" ".join(__doc__.split("\n\n")[0].split()))
    parser.add_argument("--images", required=True, metavar="DIR", help="WFLW_images: folders with the original images")
    parser.add_argument(
        "--annotations",
        required=True,
        metavar="DIR",
        help="WFLW_annotations: list_98pt_rect_attr_train.txt and list_98pt_rect_attr_test.txt, here or below",
    )
    parser.add_argument(
        "--output_folder", required=True, metavar="DIR", help="folder that <split>.txt and <split>/ are written to"
    )
    parser.add_argument(
        "--split",
        nargs="+",
        action="extend",
        metavar="SPLIT",
        help=f"only these splits; if not given, all of them: {TRAIN}, test, and the test faces of each attribute",
    )
    parser.add_argument(
        "--workers", type=at_least(1, MOST_WORKERS), default=4, help="threads that read and write images"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Crops as the command line (or ``arguments``) says."""
    flags = make_parser().parse(arguments)
    from datasets.root import find_root
    from datasets.wflw.original import crop_split, find_list, read_list, splits_of  # --help answers without it

    images, output = Path(flags.images), Path(flags.output_folder)
    unknown = [split for split in flags.split or () if split not in (TRAIN, *SPLITS)]
    if unknown:
        raise InputError(
            f"--split: {', '.join(unknown)}: no such split, expected some of {', '.join((TRAIN, *SPLITS))}"
        )
    wants = set(flags.split or (TRAIN, *SPLITS))
    parts = [part for part, members in ((TRAIN, {TRAIN}), ("test", set(SPLITS))) if wants & members]
    faces = {part: read_list(find_list(Path(flags.annotations), part)) for part in parts}
    splits = splits_of(faces)
    wanted = {split: splits[split] for split in splits if split in wants}

    names = {face.image for part in wanted.values() for face in part}
    images = find_root(images, lambda folder: any((folder / name).is_file() for name in names), "WFLW_images")
    missing = sorted(str(images / name) for name in names if not (images / name).is_file())
    if missing:
        raise InputError(f"missing images, expected all that the lists name: {first_of(missing, 10)}")
    output.mkdir(parents=True, exist_ok=True)
    with held(output), terminal.ProgressBar(sum(map(len, wanted.values())), "face", "WFLW") as bar:
        remove_leftovers(output, *wanted)
        for split, part in wanted.items():
            bar.describe(split)
            crop_split(part, images, output, split, flags.workers, bar.advance)
    rows = [[split, len(part)] for split, part in wanted.items()]
    terminal.console().print(terminal.table("WFLW", ["split", "faces"], rows))
    terminal.print_lines(terminal.console(), [f"The cropped data set is in {output}"])


if __name__ == "__main__":
    run(main)
