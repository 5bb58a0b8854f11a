"""The folder of a training run: its files, and how the run goes on from them.

``run.json`` says what is trained, ``log.csv`` how it goes (and TensorBoard's events, ``curves.png``), ``last.pth.tar``
is the state that an interrupted run goes on from, and ``final.pth.tar`` and ``best.pth.tar`` are checkpoints in the
published format, with the averaged weights.
"""

import csv
import io
import json
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from ldeq import LDEQ, InputError, save_checkpoint
from ldeq.errors import reason_of
from ldeq.files import cannot_be_written, read_json_object, write_json, written_whole
from utils.engine.losses import PARTS
from utils.engine.settings import Settings
from utils.visualization.figures import save
from utils.visualization.training import training_curves

_EXPECTED = "expected the folder of a training run to --resume (--output_dir) with its settings"
#: The keys in ``run.json`` of the digests of what is trained on, by the settings that say where that is.
_DIGESTS = {"dataset_path": "dataset_sha256", "renderings": "renderings_sha256"}
_CHANGED = {
    "dataset_path": "the data set of the run to resume has other names or landmarks in its list",
    "renderings": "the folder of renderings of the run to resume holds others",
}
#: The state that an interrupted run goes on from, in its folder.
LAST = "last.pth.tar"
COLUMNS = (
    "step",
    *PARTS,
    "lr",
    "gradient_norm",
    "iterations",
    "residual",
    "backward_iterations",
    "backward_residual",
    "backward_replaced",
    "skipped_steps",
    "faces_per_second",
    "validation_NME",
    "validation_FR",
    "validation_AUC",
    "validation_iterations",
)


class TrainingRun:
    """The folder of a run.

    Args:
        settings: what must be the same for a run to go on from the folder: dataclasses as dicts, by their names.
        digests: of the data sets that are trained on, by the settings that say where they are: they must be the same
            as well, wherever their folders are.
        resume: go on from the folder's state.

    Raises:
        InputError: where the folder holds a run and ``resume`` is false, or none or another one and it is true.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Mapping[str, Any]],
        digests: Mapping[str, str] | None = None,
        *,
        resume: bool,
    ) -> None:
        self.folder = folder
        self._settings = settings
        self._digests = {key: (digests or {}).get(name) for name, key in _DIGESTS.items()}
        self._log = folder / "log.csv"
        self._events: Any = None
        if resume:
            self._check_settings()
            self._check_log()
        elif any(path.exists() for path in (folder / "run.json", self.last, self._log)):
            raise InputError(f"{folder}: holds a training run, expected --resume to go on or another --output_dir")

    @property
    def last(self) -> Path:
        """The state that an interrupted run goes on from."""
        return self.folder / LAST

    def begin(self, description: Mapping[str, Any], step: int) -> None:
        """Before step ``step``: rows of the log past it, which a killed run left, are taken back."""
        path = self.folder / "run.json"
        content = {"settings": self._settings, **self._digests, **description}
        if path.is_file():
            before = read_json_object(path, _EXPECTED)
            resumed = [*before.get("resumed", []), description]
            content = {**before, "script": description["script"], "settings": self._settings, **self._digests}
            content["resumed"] = resumed
        write_json(path, content)
        rows = [row for row in self.rows() if int(row["step"]) <= step]
        with written_whole(self._log) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._events = SummaryWriter(str(self.folder / "events"), purge_step=step + 1)

    def rows(self) -> list[dict[str, str]]:
        """The log's rows, by their columns."""
        if not self._log.is_file():
            return []
        text = self._log.read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
        # A process that was killed as it wrote leaves a part of a row.
        whole = [row for row in rows if None not in row.values() and None not in row]
        return whole if text.endswith("\n") else whole[:-1] if len(whole) == len(rows) else whole

    def write_row(self, row: Mapping[str, float]) -> None:
        """Adds a row to the log, and to TensorBoard's events where that is installed."""
        try:
            with self._log.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerow({name: row.get(name, "") for name in COLUMNS})
        except OSError as error:
            raise cannot_be_written(self._log, error) from None
        if self._events is not None:
            for name, value in row.items():
                if name != "step" and math.isfinite(value):
                    group = "validation" if name.startswith("validation_") else "training"
                    self._events.add_scalar(f"{group}/{name.removeprefix('validation_')}", value, int(row["step"]))

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Writes ``last.pth.tar``. It is on the disk before it takes the old one's place."""
        with written_whole(self.last) as temporary, temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())

    def load_state(self) -> dict[str, Any]:
        """The state that :meth:`save_state` wrote.

        Raises:
            InputError: where it cannot be read.
        """
        if not self.last.is_file():
            # It is there before run.json is: training anew would take the place of what has been trained.
            raise InputError(f"{self.last}: no such file, expected the state of the run to resume")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is refused anyway
                state: dict[str, Any] = torch.load(self.last, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever the damage in the file leads to
            raise InputError(f"{self.last}: cannot be read ({reason_of(error)}), expected a training state") from None
        return state

    def save_weights(self, name: str, model: LDEQ, step: int) -> Path:
        """A checkpoint in the published format."""
        path = self.folder / f"{name}.pth.tar"
        save_checkpoint(path, model, step=step)
        return path

    def plot(self) -> None:
        """Draws the log."""
        columns: dict[str, tuple[list[int], list[float]]] = {}
        for row in self.rows():
            for name in COLUMNS[1:]:
                if row.get(name):
                    steps, values = columns.setdefault(name, ([], []))
                    steps.append(int(row["step"]))
                    values.append(float(row[name]))
        if columns:
            save(training_curves(columns), self.folder / "curves.png")

    def __enter__(self) -> "TrainingRun":
        return self

    def __exit__(self, *error: object) -> None:
        """TensorBoard's last rows wait in a thread until they are told to go."""
        if self._events is not None:
            self._events.close()

    def _check_log(self) -> None:
        expected = "expected the log of the run to resume"
        try:
            for row in self.rows():
                int(row["step"])
                for value in filter(None, row.values()):
                    float(value)
        except KeyError as error:
            raise InputError(f"{self._log}: has no column {error}, {expected}") from None
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(f"{self._log}: cannot be read ({error}), {expected}") from None

    def _check_settings(self) -> None:
        where = self.folder / "run.json"
        before = read_settings(self.folder)
        run = read_json_object(where, _EXPECTED)
        digests = {name: run[key] for name, key in _DIGESTS.items() if run.get(key) is not None}
        now = json.loads(json.dumps(self._settings))
        changes = [
            f"{name} (then {before.get(group, {}).get(name)!r}, now {value!r})"
            for group, values in now.items()
            for name, value in values.items()
            # A setting that a run is older than has its default, as --resume takes it; a data set is known by its
            # content.
            if before.get(group, {}).get(name, value) != value and name not in digests
        ]
        if changes:
            raise InputError(f"{where}: the run to resume differs in {', '.join(changes)}, expected the same settings")
        for name, digest in digests.items():
            if digest != self._digests[_DIGESTS[name]]:
                raise InputError(
                    f"{where}: {_CHANGED[name]}, expected the same (wherever it is: --{name}), or another --output_dir "
                    "for a new run"
                )


def read_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """The settings of the run in a folder: values by the names of the groups of :class:`Settings` and of their fields.

    Raises:
        InputError: where there are none, or some that this version does not have.
    """
    path = folder / "run.json"
    settings = read_json_object(path, _EXPECTED).get("settings")
    if not isinstance(settings, dict) or not all(isinstance(group, dict) for group in settings.values()):
        raise InputError(f"{path}: has no settings, {_EXPECTED}")
    known = {group.name: {field.name for field in fields(group.type)} for group in fields(Settings)}  # type: ignore[arg-type]
    unknown = [name for group, values in settings.items() for name in values if name not in known.get(group, ())]
    if unknown:
        checkpoints = [file for name in ("best", "final") if (file := folder / f"{name}.pth.tar").is_file()]
        raise InputError(
            f"{path}: its run was begun by another version, with settings that this one does not have "
            f"({', '.join(unknown)}), expected a run of this version"
            + (f"; a new one can start from its weights: --init_weights {checkpoints[0]}" if checkpoints else "")
        )
    return settings
