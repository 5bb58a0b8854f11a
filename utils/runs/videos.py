"""The results of an evaluation over videos on disk, and how an interrupted one goes on."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldeq import InputError
from ldeq.files import (
    WholeFile,
    append_text,
    csv_text,
    is_file_name,
    read_array,
    read_json_object,
    write_json,
    written_whole,
)
from ldeq.landmarks98 import N_LANDMARKS
from ldeq.solver_tally import SolverTally

#: Plots of a run over videos, and its folders with a file a video, by what these end in.
_PLOTS = ("nme_nmf.png", "frames.png")
_SUFFIXES = {"predictions": "npy", "videos": "mp4", "frames": "png"}
SUBFOLDERS = tuple(_SUFFIXES)
#: Columns of ``results.csv``: a video's figures, then the counts of its solves.
_FIGURES = ("NME", "NMF", "n_frames")
_COUNTS = tuple(field.name for field in dataclasses.fields(SolverTally))
#: No NME or NMF of numbers within the bounds of boxes and landmarks is as large; sums over videos stay finite.
_ABSURD = 1e15
#: The key of the digests of annotations in ``run.json``.
_ANNOTATIONS = "annotations_sha256"
_COLUMNS = ("id", *_FIGURES, *_COUNTS)
_WHAT_HELPS = "expected the same, or another --output_dir for a new run"


class VideoRun:
    """The results of a run over videos, on disk after every video.

    ``run.json`` says what is being run, ``results.csv`` has a row for each video that is done, with the counts of its
    solves, and ``predictions/<id>.npy`` its landmarks (frames, 98, 2) float64 in frame pixels. :meth:`finish` adds
    ``results.json``.

    A video's row is appended, so that its cost does not grow with the number of videos that are done; only
    :meth:`begin` and :meth:`finish` write the table whole.

    Args:
        description: from :func:`ldeq.run_folder.describe_run`.
        identity: what must be the same for rows of an earlier run to stand beside new ones.
        lengths: the videos of this run by their number of frames; rows of others are left out.
        digests: a digest of the annotations of each video, which must be the same as well, wherever the data set is.
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
        digests: Mapping[str, str],
        *,
        resume: bool,
        drawn: bool,
    ) -> None:
        self.folder = folder
        #: NME in percent, NMF and number of frames of each video that is done.
        self.rows: dict[str, dict[str, Any]] = {}
        self._tallies: dict[str, SolverTally] = {}
        self._description = dict(description)
        self._identity = identity
        self._digests = digests
        self._begun = False
        self._table, self._marker, self._finished = (folder / f for f in ("results.csv", "run.json", "results.json"))
        there = self._table.is_file()
        self._resumed = resume and there
        if self._resumed:
            self._check_identity(read_json_object(self._marker, "expected the settings of the run to resume"))
            self._read_rows(lengths, drawn)
        elif there and self._marker.is_file() and not self._finished.is_file():
            raise InputError(
                f"{folder}: holds an unfinished run, expected --resume to go on from it or another --output_dir"
            )

    @property
    def tally(self) -> SolverTally:
        """The counts of the solves of all videos that are done."""
        return SolverTally.total(self._tallies[id] for id in self.rows)

    def begin(self) -> None:
        """Writes ``run.json``, and the table with the rows that a resumed run goes on from; later calls do nothing.

        It is called before the first video's files are written. Results of another run make way.
        """
        if self._begun:
            return
        if not self._resumed:
            self._remove_earlier_run()
        self._finished.unlink(missing_ok=True)  # with more options a finished run may be resumed
        if self.rows:
            self._write_table()
        else:
            self._table.unlink(missing_ok=True)
        content = {"script": self._description["script"], **self._identity, _ANNOTATIONS: dict(self._digests)}
        write_json(self._marker, content)
        self._begun = True

    def add(
        self,
        id: str,
        nme: float,
        nmf: float,
        landmarks: NDArray[np.float64],
        tally: SolverTally,
        drawn: WholeFile | None = None,
    ) -> None:
        """Puts a finished video on disk.

        Args:
            nme: in percent.
            landmarks: the predicted ones, (frames, 98, 2) in frame pixels.
            tally: the counts of the video's solves.
            drawn: its MP4 (:func:`annotated_video`), which has yet to get its name.

        Raises:
            NotFiniteError: where it is the first one, and no solve of it stayed finite: that leaves nothing.
        """
        try:
            if not self.rows:
                tally.check()
            self.begin()
            if drawn is not None:
                drawn.commit()
        finally:
            if drawn is not None:
                drawn.discard()
        with written_whole(self.predictions_path(id)) as temporary:
            np.save(temporary, landmarks.astype(np.float64))
        header = [] if self.rows else [_COLUMNS]
        self.rows[id] = {"NME": float(nme), "NMF": float(nmf), "n_frames": len(landmarks)}
        self._tallies[id] = tally
        append_text(self._table, csv_text([*header, self._cells(id)]))

    def predictions_path(self, id: str) -> Path:
        """The file of a video's predicted landmarks, (frames, 98, 2) in frame pixels."""
        return self.folder / "predictions" / f"{id}.npy"

    def video_path(self, id: str) -> Path:
        """The file of the annotated video."""
        return annotated_video(self.folder, id)

    def mean(self, figure: str) -> float:
        """The plain mean of a figure (``NME``, ``NMF``) over videos."""
        return float(np.mean([row[figure] for row in self.rows.values()]))

    def finish(
        self, order: Sequence[str], split: str, rwr: bool, skipped: Mapping[str, str], *, to_converge: bool
    ) -> None:
        """Writes ``results.json``, and the table once more, with the videos in the order of their id list.

        Args:
            to_converge: the solves were to converge, and those that did not are counted.
        """
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
            "solver": self.tally.summary(to_converge=to_converge),
        }
        write_json(self._finished, content)

    def _cells(self, id: str) -> list[object]:
        return [id, *self.rows[id].values(), *dataclasses.astuple(self._tallies[id])]

    def _write_table(self) -> None:
        with written_whole(self._table) as temporary:
            text = csv_text([_COLUMNS, *map(self._cells, self.rows)])
            temporary.write_text(text, encoding="utf-8", newline="")

    def _remove_earlier_run(self) -> None:
        # Only what its table names: the folder may hold other files, which are not ours to remove.
        for id in filter(is_file_name, self._earlier_ids() if self._marker.is_file() else ()):
            for name, suffix in _SUFFIXES.items():
                (self.folder / name / f"{id}.{suffix}").unlink(missing_ok=True)
        for plot in _PLOTS:
            (self.folder / plot).unlink(missing_ok=True)

    def _earlier_ids(self) -> list[str]:
        try:
            return [row["id"] for row in self._read_table()]
        except (OSError, ValueError, KeyError, csv.Error):
            return []

    def _read_table(self) -> list[dict[str, str]]:
        """The rows of the table but for the last line where a killed process left it without its end."""
        whole, line_end, _ = self._table.read_bytes().rpartition(b"\n")
        return list(csv.DictReader(io.StringIO((whole + line_end).decode("utf-8"), newline="")))

    def _check_identity(self, before: Mapping[str, Any]) -> None:
        different = [key for key in self._identity if before.get(key) != self._identity[key]]
        if different:
            changes = ", ".join(f"{key} (then {before.get(key)!r}, now {self._identity[key]!r})" for key in different)
            raise InputError(f"{self._marker}: the run to resume differs in {changes}, {_WHAT_HELPS}")
        digests = before.get(_ANNOTATIONS)
        if digests is None:
            # Of a version that kept the data set's path.
            if before.get("dataset") != str(Path(self._description["dataset"]).resolve()):
                raise InputError(
                    f"{self._marker}: the run to resume has the data set {before.get('dataset')!r}, {_WHAT_HELPS}"
                )
        elif not isinstance(digests, dict):
            raise InputError(f"{self._marker}: {_ANNOTATIONS} is no object, expected those of the run to resume")
        else:
            changed = [id for id, digest in self._digests.items() if digests.get(id, digest) != digest]
            if changed:
                of = f"{changed[0]} and {len(changed) - 1} more videos" if changed[1:] else changed[0]
                raise InputError(f"{self._marker}: boxes or landmarks of {of} are not what they were, {_WHAT_HELPS}")

    def _read_rows(self, lengths: Mapping[str, int], drawn: bool) -> None:
        """Takes over the rows of videos that need not be made again."""
        try:
            for cells in self._read_table():
                id, tally = cells["id"], _tally_of(cells)
                row = {"NME": float(cells["NME"]), "NMF": float(cells["NMF"]), "n_frames": int(cells["n_frames"])}
                whole = row["n_frames"] == lengths.get(id) and self._has_predictions(id, row["n_frames"])
                sound = all(0 <= row[figure] < _ABSURD for figure in ("NME", "NMF"))
                if tally is not None and whole and sound and (not drawn or self.video_path(id).is_file()):
                    self.rows[id], self._tallies[id] = row, tally
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            reason = f"cannot be read ({error}), expected the rows of the run to resume"
            raise InputError(f"{self._table}: {reason}") from None

    def _has_predictions(self, id: str, n_frames: float) -> bool:
        """True if the file of a video's predicted landmarks holds those of so many frames."""
        try:
            landmarks = read_array(self.predictions_path(id))
        except InputError:
            return False
        return landmarks.shape == (n_frames, N_LANDMARKS, 2) and bool(np.isfinite(landmarks).all())


def annotated_video(folder: Path, id: str) -> Path:
    """The file of the annotated video of an id, in the folder of its run."""
    return folder / "videos" / f"{id}.mp4"


def _tally_of(cells: Mapping[str, str]) -> SolverTally | None:
    """The counts of a video's solves; None where its row has none, being of a version that kept them elsewhere."""
    try:
        counts = [int(cells[name]) for name in _COUNTS]
    except (KeyError, TypeError, ValueError):
        return None
    return SolverTally(*counts) if all(0 <= count < 2**63 for count in counts) else None
