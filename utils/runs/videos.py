"""The results of an evaluation over videos on disk, and how an interrupted one goes on."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldeq import InputError
from ldeq.files import read_json_object, write_csv, write_json, written_whole
from ldeq.solvers.tally import SolverTally

#: Plots of a run over videos, and its folders with a file a video, by what these end in.
_PLOTS = ("nme_nmf.png", "frames.png")
_SUFFIXES = {"predictions": "npy", "videos": "mp4", "frames": "png"}


class VideoRun:
    """The results of a run over videos, on disk after every video.

    ``run.json`` says what is being run and how the solver did, ``results.csv`` has a row for each video that is done,
    and ``predictions/<id>.npy`` its landmarks (frames, 98, 2) float64 in frame pixels. :meth:`finish` adds
    ``results.json``.

    Args:
        description: from :func:`ldeq.run_folder.describe_run`.
        identity: what must be the same for rows of an earlier run to stand beside new ones.
        lengths: the videos of this run by their number of frames; rows of others are left out.
        resume: go on from the rows that are there.
        drawn: whether a video is only done with its MP4.

    Until the first video is done the folder stays as it was. Then results of another run in it make way.

    Raises:
        InputError: where the folder holds an unfinished run and ``resume`` is false, or one with another identity.
    """

    def __init__(
        self,
        folder: Path,
        description: Mapping[str, Any],
        identity: Mapping[str, Any],
        lengths: Mapping[str, int],
        *,
        resume: bool,
        drawn: bool,
    ) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, Any]] = {}
        self._tallies: dict[str, SolverTally] = {}
        self._description = dict(description)
        self._identity = identity
        self._begun = False
        self._table, self._marker, self._finished = (folder / f for f in ("results.csv", "run.json", "results.json"))
        there = self._table.is_file()
        if resume and there:
            before = read_json_object(self._marker, "expected the settings of the run to resume")
            self._check_identity(before)
            self._read_rows(_tallies_of(before.get("solves")), lengths, drawn)
            self._begun = True
        elif there and self._marker.is_file() and not self._finished.is_file():
            raise InputError(
                f"{folder}: holds an unfinished run, expected --resume to go on from it or another --output_dir"
            )

    @property
    def tally(self) -> SolverTally:
        """Of the solves of all videos that are done."""
        total = SolverTally()
        for id in self.rows:
            total.merge(self._tallies[id])
        return total

    def add(self, id: str, nme: float, nmf: float, landmarks: NDArray[np.float64], tally: SolverTally) -> None:
        """Puts a finished video on disk."""
        self.begin()
        self._finished.unlink(missing_ok=True)  # with more options a finished run may be resumed
        self._tallies[id] = tally
        self._write_marker()
        with written_whole(self.predictions_path(id)) as temporary:
            np.save(temporary, landmarks.astype(np.float64))
        self.rows[id] = {"NME": nme, "NMF": nmf, "n_frames": len(landmarks)}
        self._write_table()

    def predictions_path(self, id: str) -> Path:
        return self.folder / "predictions" / f"{id}.npy"

    def video_path(self, id: str) -> Path:
        """Where the annotated video goes."""
        return self.folder / "videos" / f"{id}.mp4"

    def mean(self, figure: str) -> float:
        """The plain mean of a figure (``NME``, ``NMF``) over videos."""
        return float(np.mean([row[figure] for row in self.rows.values()]))

    def finish(self, order: Sequence[str], split: str, rwr: bool, skipped: Mapping[str, str]) -> None:
        """Writes ``results.json``, and the table once more, with the videos in the order of their id list."""
        self.rows = {id: self.rows[id] for id in order if id in self.rows}
        self._write_table()
        content = {
            **self._description,
            "split": split,
            "rwr": rwr,
            "NME": self.mean("NME"),
            "NMF": self.mean("NMF"),
            "videos": self.rows,
            "skipped": dict(skipped),
            "solver": self.tally.summary(),
        }
        write_json(self._finished, content)

    def _write_table(self) -> None:
        write_csv(self._table, [{"id": id, **row} for id, row in self.rows.items()])

    def begin(self) -> None:
        """Before the first video's results: another run's make way, and ``run.json`` says what this one is."""
        if self._begun:
            return
        # Only what its table names: the folder may hold other files, which are not ours to remove.
        for id in self._earlier_ids() if self._marker.is_file() else ():
            for name, suffix in _SUFFIXES.items():
                (self.folder / name / f"{id}.{suffix}").unlink(missing_ok=True)
        for path in (self._finished, self._table, *(self.folder / plot for plot in _PLOTS)):
            path.unlink(missing_ok=True)
        self._write_marker()
        self._begun = True

    def _write_marker(self) -> None:
        solves = {id: vars(tally) for id, tally in self._tallies.items()}
        write_json(self._marker, {"script": self._description["script"], **self._identity, "solves": solves})

    def _read_table(self) -> list[dict[str, str]]:
        with self._table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _earlier_ids(self) -> list[str]:
        try:
            return [row["id"] for row in self._read_table()]
        except (OSError, ValueError, KeyError, csv.Error):
            return []

    def _check_identity(self, before: Mapping[str, Any]) -> None:
        different = [key for key in self._identity if before.get(key) != self._identity[key]]
        if different:
            changes = ", ".join(f"{key} (then {before.get(key)!r}, now {self._identity[key]!r})" for key in different)
            raise InputError(f"{self._marker}: the run to resume differs in {changes}, expected the same settings")

    def _read_rows(self, tallies: Mapping[str, SolverTally], lengths: Mapping[str, int], drawn: bool) -> None:
        try:
            rows = {
                row["id"]: {"NME": float(row["NME"]), "NMF": float(row["NMF"]), "n_frames": int(row["n_frames"])}
                for row in self._read_table()
            }
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            reason = f"cannot be read ({error}), expected the rows of the run to resume"
            raise InputError(f"{self._table}: {reason}") from None
        for id, row in rows.items():
            whole = id in tallies and row["n_frames"] == lengths.get(id) == self._predicted_frames(id)
            if whole and np.isfinite([row["NME"], row["NMF"]]).all() and (not drawn or self.video_path(id).is_file()):
                self.rows[id], self._tallies[id] = row, tallies[id]

    def _predicted_frames(self, id: str) -> int | None:
        try:
            return len(np.load(self.predictions_path(id), allow_pickle=False))
        except (OSError, ValueError, EOFError, TypeError):
            return None


def _tallies_of(solves: object) -> dict[str, SolverTally]:
    """How the solver did on each video, from ``run.json``; videos of which it does not say are made again."""
    fields = {field.name for field in dataclasses.fields(SolverTally)}
    return {
        id: SolverTally(**counts)
        for id, counts in (solves.items() if isinstance(solves, dict) else ())
        if isinstance(counts, dict) and set(counts) == fields and all(type(n) is int for n in counts.values())
    }
