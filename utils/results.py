"""What a run leaves on disk: its folder, results.json and results.csv, and how an interrupted run goes on."""

import dataclasses
import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ldeq import LDEQ, InputError
from ldeq.files import written_whole
from utils.device import describe_device

RESULTS = Path("results")


def make_output_folder(requested: str | None, script: str) -> Path:
    """The folder asked for, or ``results/<script>/<time>``.

    Raises:
        InputError: where it is a file or cannot be made.
    """
    folder = Path(requested) if requested else _new_folder(RESULTS / script)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}, expected a folder for the results (--output_dir)") from None
    return folder


def _new_folder(parent: Path) -> Path:
    stem = time.strftime("%Y-%m-%d_%H-%M-%S")
    names = [stem, *(f"{stem}_{number}" for number in range(2, 1000))]
    return next(parent / name for name in names if not (parent / name).exists())


def latest_folder(script: str) -> Path:
    """The newest folder that ``script`` made under ``results/``, for resuming.

    Raises:
        InputError: where there is none.
    """
    folders = sorted((RESULTS / script).glob("*/"), key=lambda folder: folder.stat().st_mtime)
    if not folders:
        raise InputError(f"{RESULTS / script}: has no earlier run, expected one to --resume (or name its --output_dir)")
    return folders[-1]


def describe_run(
    weights: str | Path, dataset: str | Path, model: LDEQ, settings: Mapping[str, Any], device: torch.device
) -> dict[str, Any]:
    """The part of results.json that says what was run on what, with what."""
    return {
        "weights": str(weights),
        "weights_sha256": hashlib.sha256(Path(weights).read_bytes()).hexdigest(),
        "dataset": str(dataset),
        "config": {
            **settings,
            "model": dataclasses.asdict(model.config),
            "solver": dataclasses.asdict(model.solver_config),
        },
        "environment": {
            "device": describe_device(device),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "platform": platform.platform(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row a mapping, floats in full."""
    with written_whole(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


class VideoRun:
    """The results of a run over videos, on disk after every video.

    ``run.json`` says what is being run, ``results.csv`` has a row for each video that is done, and
    ``predictions/<id>.npy`` its landmarks (frames, 98, 2) float32 in frame pixels. :meth:`finish` adds
    ``results.json``.

    Args:
        description: from :func:`describe_run`.
        identity: what must be the same for rows of an earlier run to stand beside new ones.
        resume: go on from the rows that are there.

    Raises:
        InputError: where the folder holds an unfinished run and ``resume`` is false, or one with another identity.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any], identity: Mapping[str, Any], resume: bool) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, Any]] = {}
        self._description = dict(description)
        self._table = folder / "results.csv"
        marker, finished = folder / "run.json", folder / "results.json"
        if marker.is_file() and resume:
            self._check_identity(marker, identity)
            self._read_rows()
        elif marker.is_file() and self._table.is_file() and not finished.is_file():
            raise InputError(
                f"{folder}: holds an unfinished run, expected --resume to go on from it or another --output_dir"
            )
        else:
            self._table.unlink(missing_ok=True)
        finished.unlink(missing_ok=True)
        write_json(marker, identity)

    def add(self, id: str, nme: float, nmf: float, landmarks: NDArray[np.float64]) -> None:
        """Puts a finished video on disk."""
        with written_whole(self.predictions_path(id)) as temporary:
            np.save(temporary, landmarks.astype(np.float32))
        self.rows[id] = {"NME": nme, "NMF": nmf, "n_frames": len(landmarks)}
        write_csv(self._table, [{"id": id, **row} for id, row in self.rows.items()])

    def predictions_path(self, id: str) -> Path:
        return self.folder / "predictions" / f"{id}.npy"

    def mean(self, figure: str) -> float:
        """The plain mean of a figure (``NME``, ``NMF``) over videos."""
        return float(np.mean([row[figure] for row in self.rows.values()]))

    def finish(self, order: Sequence[str], split: str, rwr: bool, skipped: Mapping[str, str]) -> None:
        """Writes ``results.json``, and the table once more, with the videos in the order of their id list."""
        self.rows = {id: self.rows[id] for id in order if id in self.rows}
        write_csv(self._table, [{"id": id, **row} for id, row in self.rows.items()])
        content = {
            **self._description,
            "split": split,
            "rwr": rwr,
            "NME": self.mean("NME"),
            "NMF": self.mean("NMF"),
            "videos": self.rows,
            "skipped": dict(skipped),
        }
        write_json(self.folder / "results.json", content)

    def _check_identity(self, marker: Path, identity: Mapping[str, Any]) -> None:
        try:
            before = json.loads(marker.read_text(encoding="utf-8"))
            different = [key for key in identity if before.get(key) != identity[key]]
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(
                f"{marker}: cannot be read ({error}), expected the settings of the run to resume"
            ) from None
        if different:
            changes = ", ".join(f"{key} (then {before.get(key)!r}, now {identity[key]!r})" for key in different)
            raise InputError(f"{marker}: the run to resume differs in {changes}, expected the same settings")

    def _read_rows(self) -> None:
        if not self._table.is_file():
            return
        try:
            table = pd.read_csv(self._table, dtype={"id": str}, keep_default_na=False)
            rows = {
                str(row.id): {"NME": float(row.NME), "NMF": float(row.NMF), "n_frames": int(row.n_frames)}
                for row in table.itertuples()
            }
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(
                f"{self._table}: cannot be read ({error}), expected the rows of the run to resume"
            ) from None
        self.rows = {id: row for id, row in rows.items() if self.predictions_path(id).is_file()}
