"""Fetching the published checkpoints."""

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ldeq import InputError, load_checkpoint
from ldeq.files import read_json_object, written_whole
from utils import report
from utils.download.backend import Connection
from utils.download.fetch import Patience, fetch, list_drive_folder
from utils.weights import NAMES

#: Google Drive folders with a checkpoint each.
FOLDERS = {"wflw": "1r0NJBXtAW2mIT30bPw83ZgDuPgIUdN9K", "wflw_v": "1Jo4BCSSZTBM4Ms3Q9L7dyN4QktbpEM5e"}


def download_weights(
    name: str, target: Path, connection: Connection, patience: Patience, place: str | None = None
) -> bool:
    """Brings the checkpoint of that name to ``target``, and checks that it is one; false if it was there already.

    Args:
        place: an address or the id of a Google Drive file, instead of where it is published.

    Raises:
        InputError: where it cannot be had, or is no checkpoint.
    """
    if target.is_file():
        load_checkpoint(target)
        return False
    place = place or _published(name, connection)
    with (
        tempfile.TemporaryDirectory(prefix="ldeq-") as folder,
        report.progress(0, "B", name) as bar,
    ):
        bar.unit_scale = True
        fetched = Path(folder) / f"{name}.pth.tar"
        fetch(place, fetched, connection, patience, bar)
        try:
            load_checkpoint(fetched)
        except InputError as error:
            sentence = str(error).removeprefix(f"{fetched}: ")
            raise InputError(f"{place}: what was downloaded {sentence}") from None
        with written_whole(target) as temporary, fetched.open("rb") as source:
            temporary.write_bytes(source.read())
    return True


def _published(name: str, connection: Connection) -> str:
    """The id of the checkpoint in its folder."""
    files = list_drive_folder(FOLDERS[name], connection)
    found = {path: id for path, id in files.items() if path.endswith((".pth.tar", ".pth", ".pt"))}
    final = [id for path, id in found.items() if PurePosixPath(path).name == "final.pth.tar"] or list(found.values())
    if len(final) != 1:
        there = ", ".join(files) or "nothing"
        raise InputError(f"Google Drive folder {FOLDERS[name]}: has {there}, expected one final.pth.tar")
    return final[0]


def read_places(path: str | Path) -> Mapping[str, str]:
    """Other places of checkpoints: a JSON object of names and addresses (or ids of Google Drive files).

    Raises:
        InputError: where it is something else.
    """
    expected = f"expected a JSON object of addresses for some of {', '.join(NAMES)}"
    content = read_json_object(path, expected)
    if not all(key in NAMES and isinstance(place, str) for key, place in content.items()):
        raise InputError(f"{path}: holds something else, {expected}")
    return content
