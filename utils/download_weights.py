"""Downloads the published checkpoints, which the scripts then know by their names: --landmark_model_weights wflw."""

import os
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run by its path, Python looks for modules beside this file; run as a module of the repository, it finds them all.
    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "utils.download_weights", *sys.argv[1:]])

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

from collections.abc import Mapping, Sequence

from ldeq import InputError, pretrained
from ldeq.command_line import ArgumentParser, run
from ldeq.fetch import address_of
from ldeq.files import read_json_object, sha256_of
from ldeq.terminal import console, print_lines
from utils.download.flags import add_connection_flags, connection_of, retry_policy_of

NAMES = tuple(pretrained.FOLDERS)


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(f"{__doc__} They are NVIDIA's, under its non-commercial licence.")
    names = "; ".join(f"{name}: {pretrained.NAMES[name].removeprefix('published: ')}" for name in NAMES)
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=names)
    parser.add_argument("--sources", metavar="FILE", help="JSON with other addresses: an object of names and addresses")
    add_connection_flags(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Downloads what the command line (or ``arguments``) names."""
    flags = make_parser().parse(arguments)
    from ldeq.model.checkpoint import load_checkpoint

    sources = read_sources(flags.sources) if flags.sources else {}
    connection, retry_policy = connection_of(flags), retry_policy_of(flags)
    for name in dict.fromkeys(flags.names):
        path = pretrained.path_of(name)
        new = pretrained.download(name, path, load_checkpoint, connection, retry_policy, sources.get(name))
        outcome = "downloaded" if new else "there already"
        print_lines(console(), [f"{name}  {outcome}: {path} (SHA-256 {sha256_of(path)})"])


def read_sources(path: str | Path) -> Mapping[str, str]:
    """The sources of checkpoints by name: a JSON object of names and addresses (or ids of Google Drive files).

    Raises:
        InputError: where it is something else.
    """
    expected = f"expected a JSON object of addresses for some of {', '.join(NAMES)}"
    content = read_json_object(path, expected)
    if not all(key in NAMES and isinstance(source, str) for key, source in content.items()):
        raise InputError(f"{path}: holds something else, {expected}")
    for name, source in content.items():
        try:
            address_of(source)
        except InputError as error:
            raise InputError(f"{path}: {name} = {error}") from None
    return content


if __name__ == "__main__":
    run(main)
