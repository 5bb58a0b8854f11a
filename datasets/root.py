"""The folder of a data set, as archives leave it when they are unpacked and as people name it."""

from collections.abc import Callable
from pathlib import Path

from ldeq import InputError

#: What one system puts beside the folders of its archives.
_LEFT_OVER = "__MACOSX"


def find_root(folder: str | Path, is_root: Callable[[Path], bool], expected: str) -> Path:
    """The folder of a data set: the one that is named, or the only one in it that holds the data set.

    Where neither does it is the one that is named, and what is missing in it is for its reader to say.

    Args:
        is_root: tells the data set's folder by what is in it.
        expected: the data set's name and layout, for messages.

    Raises:
        InputError: where there is no such folder, it holds several data sets, or is a part of one.
    """
    folder = Path(folder)
    if folder.is_file():
        raise InputError(f"{folder}: is a file, expected the folder that it is unpacked to: {expected}")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected {expected}")
    if is_root(folder):
        return folder
    below = [path for path in visible_folders(folder) if is_root(path)]
    if len(below) > 1:
        raise InputError(f"{folder}: holds {', '.join(path.name for path in below)}, expected one of them: {expected}")
    above = folder.resolve().parent
    if not below and is_root(above):
        raise InputError(f"{folder}: is a part of a data set, expected the whole, {above}: {expected}")
    return below[0] if below else folder


def visible_folders(folder: Path) -> list[Path]:
    """The folders in a folder that people put there."""
    found = (path for path in folder.iterdir() if not path.name.startswith(".") and path.name != _LEFT_OVER)
    return sorted(path for path in found if path.is_dir())
