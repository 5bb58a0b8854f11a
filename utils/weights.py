"""The published checkpoints by name, and where they are on this machine."""

from pathlib import Path

from ldeq import InputError

#: Git does not see it; all scripts of this copy of the repository find it, from whichever folder they are run.
FOLDER = Path(__file__).resolve().parent.parent / "weights"

#: What each was trained for. ``utils.download.weights`` knows where they are published.
NAMES = {
    "wflw": "WFLW, solved by Anderson acceleration",
    "wflw_v": "WFLW-V, solved by fixed-point iteration, trained with more variation of crops",
}


def path_of(name: str) -> Path:
    """Where the checkpoint of that name is, once it has been downloaded."""
    return FOLDER / f"{name}.pth.tar"


def resolve(weights: str) -> str:
    """The path of a checkpoint that is given by its path, or by one of :data:`NAMES`.

    A file that is called like a name is meant by ``./name``.

    Raises:
        InputError: where a name's checkpoint has not been downloaded yet.
    """
    if weights not in NAMES:
        return weights
    path = path_of(weights)
    if not path.is_file():
        raise InputError(f"{weights}: not downloaded yet, expected 'python utils/download_weights.py {weights}' before")
    return str(path)
