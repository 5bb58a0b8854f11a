"""Downloads the published checkpoints, which the scripts then know by their names: --landmark_model_weights wflw."""

import os
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run by its path, Python looks for modules beside this file; run as a module of the repository, it finds them all.
    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "utils.download_weights", *sys.argv[1:]])

from collections.abc import Sequence

from utils import report, weights
from utils.cli import ArgumentParser, run
from utils.download.fetch import sha256_of
from utils.download.flags import add_connection_flags, connection_of, patience_of
from utils.download.weights import download_weights, read_places


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(f"{__doc__} They are NVIDIA's, under its non-commercial licence.")
    names = "; ".join(f"{name}: {what}" for name, what in weights.NAMES.items())
    parser.add_argument("names", nargs="+", choices=tuple(weights.NAMES), metavar="NAME", help=names)
    parser.add_argument("--sources", metavar="FILE", help="JSON with other addresses: an object of names and addresses")
    add_connection_flags(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Downloads what the command line (or ``arguments``) names."""
    flags = make_parser().parse(arguments)
    places = read_places(flags.sources) if flags.sources else {}
    connection, patience = connection_of(flags), patience_of(flags)
    for name in dict.fromkeys(flags.names):
        path = weights.path_of(name)
        new = download_weights(name, path, connection, patience, places.get(name))
        said = "downloaded" if new else "there already"
        report.print_lines(report.console(), [f"{name}  {said}: {path} (SHA-256 {sha256_of(path)})"])


if __name__ == "__main__":
    run(main)
