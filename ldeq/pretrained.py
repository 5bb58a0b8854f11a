"""Networks by name: the bundled one, and the published ones in the user's cache, fetched at their first use."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ldeq.errors import InputError
from ldeq.fetch import Connection, RetryPolicy, address_of, fetch, list_drive_folder
from ldeq.files import refuse_address, sha256_of, written_whole
from ldeq.first_use import check_first_use, record_first_use

#: The network that comes with the package.
BUNDLED = "synthetic"
#: The names, and what each network was trained for.
NAMES = {
    BUNDLED: "a small network that has seen synthetic faces alone; it comes with the package",
    "wflw": "published: WFLW, solved by Anderson acceleration",
    "wflw_v": "published: WFLW-V, solved by fixed-point iteration, trained with more variation of crops",
}
#: Google Drive folders of the published ones, a checkpoint each.
FOLDERS = {"wflw": "1r0NJBXtAW2mIT30bPw83ZgDuPgIUdN9K", "wflw_v": "1Jo4BCSSZTBM4Ms3Q9L7dyN4QktbpEM5e"}

#: A report's remark on figures that come from the bundled network.
BUNDLED_NOTE = "These are the bundled weights: a small network that has seen synthetic faces alone."

_PACKAGE = Path(__file__).resolve().parent


def cache_folder() -> Path:
    """Where downloaded networks are kept: ``$LDEQ_HOME``, else ``ldeq`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    home = os.environ.get("LDEQ_HOME")
    return Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ldeq"


def path_of(name: str) -> Path:
    """Where the checkpoint of a name of :data:`NAMES` is, once it has been downloaded.

    One that an earlier version put into ``weights/`` of the clone of the repository stays in use.
    """
    if name == BUNDLED:
        return _PACKAGE / "weights" / f"{name}.pth.tar"
    cached = cache_folder() / "weights" / f"{name}.pth.tar"
    earlier = _PACKAGE.parent / "weights" / f"{name}.pth.tar"
    return earlier if earlier.is_file() and not cached.is_file() else cached


def bundled_step() -> Path:
    """The bundled network as an exported step (``python -m ldeq.runtime.export``)."""
    return path_of(BUNDLED).with_name(f"{BUNDLED}.onnx")


def resolve(weights: str | Path, check: Callable[[Path], object]) -> Path:
    """The path of a checkpoint that is given by its path, or by one of :data:`NAMES`, which is fetched if need be.

    A file that is called like a name is meant by ``./name``.

    Args:
        check: loads a checkpoint that has been fetched, and raises InputError where it is none.

    Raises:
        InputError: where a name's checkpoint cannot be fetched, or is no longer what was fetched.
    """
    if not isinstance(weights, str) or weights not in NAMES:
        refuse_address(weights)
        return Path(weights)
    path = path_of(weights)
    if not path.is_file():
        download(weights, path, check)
    elif weights != BUNDLED:
        _check_kept(weights, path)
    return path


def note_on(weights: str | Path) -> str | None:
    """A report's remark on figures that the checkpoint of this path gave, if there is one."""
    return BUNDLED_NOTE if Path(weights).resolve() in (path_of(BUNDLED), bundled_step()) else None


def download(
    name: str,
    target: Path,
    check: Callable[[Path], object],
    connection: Connection | None = None,
    retry_policy: RetryPolicy | None = None,
    source: str | None = None,
) -> bool:
    """Brings a published checkpoint to ``target``; false if it was there already.

    Args:
        name: a key of :data:`FOLDERS`.
        check: as of :func:`resolve`; what it refuses never gets its name.
        source: an address or the id of a Google Drive file, instead of where it is published.

    Raises:
        InputError: where it cannot be had, is no checkpoint, or another one than at the first download.
    """
    from ldeq.terminal import ProgressBar

    if target.is_file():
        _check_kept(name, target)
        check(target)
        return False
    connection = connection or Connection()
    source = source or _published(name, connection)
    address = address_of(source)
    with tempfile.TemporaryDirectory(prefix="ldeq-") as folder, ProgressBar(None, "B", name) as bar:
        fetched = Path(folder) / f"{name}.pth.tar"
        fetch(source, fetched, connection, retry_policy or RetryPolicy(), bar)
        try:
            check(fetched)
        except InputError as error:
            sentence = str(error).removeprefix(f"{fetched}: ")
            raise InputError(f"{address}: what was downloaded {sentence}") from None
        digest = sha256_of(fetched)
        check_first_use(cache_folder(), _recorded_as(name), digest, address)
        with written_whole(target) as temporary:
            shutil.copyfile(fetched, temporary)
    record_first_use(cache_folder(), _recorded_as(name), digest)
    return True


def _check_kept(name: str, path: Path) -> None:
    """Raises InputError where a checkpoint on this machine is no longer what was downloaded."""
    remedy = "delete it to download it again, or, "
    check_first_use(cache_folder(), _recorded_as(name), sha256_of(path), str(path), remedy)


def _recorded_as(name: str) -> str:
    """The name of a checkpoint in the record of the cache folder: its path there."""
    return f"weights/{name}.pth.tar"


def _published(name: str, connection: Connection) -> str:
    """The id of the checkpoint in its folder."""
    files = list_drive_folder(FOLDERS[name], connection)
    found = {path: id for path, id in files.items() if path.endswith((".pth.tar", ".pth", ".pt"))}
    final = [id for path, id in found.items() if PurePosixPath(path).name == "final.pth.tar"] or list(found.values())
    if len(final) != 1:
        there = ", ".join(files) or "nothing"
        raise InputError(f"Google Drive folder {FOLDERS[name]}: has {there}, expected one final.pth.tar")
    return final[0]
