"""The folder that a run leaves: where it is, whose it is, and what says how it was made."""

import dataclasses
import itertools
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from ldeq.config import ModelConfig, SolverConfig
from ldeq.errors import InputError
from ldeq.files import read_json_object, sha256_of
from ldeq.folder_lock import held, remove_leftovers

RESULTS = Path("results")


@contextmanager
def output_folder(requested: str | None, script: str, subfolders: Sequence[str] = ()) -> Iterator[Path]:
    """The folder asked for, or a new ``results/<script>/<time>``, which nobody else has within the block.

    What killed runs left unfinished in it is removed.

    Args:
        subfolders: names of folders in it that the script writes files to as well.

    Raises:
        InputError: where another run has it, where it is a file, cannot be made or written to, or holds another
            script's results, whose files have the same names.
    """
    folder = Path(requested) if requested else RESULTS / script / time.strftime("%Y-%m-%d_%H-%M-%S")
    with ExitStack() as stack:
        try:
            if requested:
                folder.mkdir(parents=True, exist_ok=True)
            else:
                folder = _make_new(folder)
            stack.enter_context(held(folder))
            with tempfile.TemporaryFile(dir=folder):
                pass  # better now than after hours
        except OSError as error:
            raise InputError(f"{folder}: {error.strerror}, expected a folder for the results (--output_dir)") from None
        _refuse_results_of_others(folder, script)
        remove_leftovers(folder, *subfolders)
        yield folder


def _refuse_results_of_others(folder: Path, script: str) -> None:
    for path in (folder / "run.json", folder / "results.json"):
        if path.is_file():
            owner = read_json_object(path, "expected an earlier run's (or another --output_dir)").get("script", script)
            if owner != script:
                raise InputError(f"{folder}: holds results of {owner}, expected another --output_dir")


def _make_new(folder: Path) -> Path:
    """A folder that nobody has; two runs may start in one second."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(2):
        try:
            folder.mkdir()
            break
        except FileExistsError:
            folder = folder.with_name(f"{folder.name.rsplit('.', 1)[0]}.{number}")
    return folder


def latest_folder(script: str) -> str:
    """The newest folder that ``script`` made under ``results/``, one with an unfinished run if there is any.

    Raises:
        InputError: where there is none.
    """
    # A run that was refused may have left an empty one.
    folders = [folder for folder in (RESULTS / script).glob("*/") if any(folder.iterdir())]
    folders.sort(key=lambda folder: folder.stat().st_mtime)
    if not folders:
        raise InputError(f"{RESULTS / script}: has no earlier run, expected one to --resume (or name its --output_dir)")
    # The last file of an evaluation, and of training.
    ends = ("results.json", "final.pth.tar")
    unfinished = [folder for folder in folders if not any((folder / end).is_file() for end in ends)]
    return str((unfinished or folders)[-1])


class RunNetwork(Protocol):
    """What a run's file says of the network that was run (:class:`ldeq.runtime.network.Network` is one)."""

    weights: Path
    config: ModelConfig
    solver_config: SolverConfig
    #: The runtime and the device, in words.
    description: str
    device: str


def describe_run(script: str, network: RunNetwork, dataset: str | Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of results.json that says what was run on what, with what."""
    return {
        "script": script,
        "weights": str(network.weights),
        "weights_sha256": sha256_of(network.weights),
        "dataset": str(dataset),
        "config": {
            **settings,
            "model": dataclasses.asdict(network.config),
            "solver": dataclasses.asdict(network.solver_config),
        },
        "environment": {"runtime": network.description, **describe_environment(network.device)},
    }


def describe_environment(device: str) -> dict[str, str]:
    """On what a run ran, and when."""
    import cv2
    import numpy as np

    torch = sys.modules.get("torch")
    return {
        "device": device,
        "python": platform.python_version(),
        **({} if torch is None else {"torch": str(torch.__version__)}),
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
