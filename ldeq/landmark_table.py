"""Landmarks of a video as a table, a row a face and frame: its columns, and its files ``.csv`` and ``.npz``."""

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError
from ldeq.face.landmarker import Face
from ldeq.files import cannot_be_written, written_whole
from ldeq.landmarks98 import IBUG68, N_LANDMARKS
from ldeq.smoothing import smooth_tracks

#: Rows that are read back at a time.
CHUNK = 4096
#: How many landmarks a file may have of a face; 68 are iBUG's, approximately (:data:`ldeq.landmarks98.IBUG68`).
POINTS = (98, 68)
#: Layouts of the CSV: our own, and OpenFace's.
FORMATS = ("ldeq", "openface")
#: Median uncertainty, as a fraction of the crop's side, at which OpenFace's confidence is 0.
_NO_CONFIDENCE = 0.13
#: Arrays that further solutions add, by the ends of their names.
FRAME_BY_FRAME, UNSMOOTHED = "_frame_by_frame", "_unsmoothed"


def row_type(suffixes: Sequence[str] = ()) -> np.dtype[Any]:
    """The fields of a row, which are the arrays of the NPZ.

    Args:
        suffixes: of further solutions, each with landmarks and uncertainty of its own.
    """
    fields: list[Any] = [
        ("frame", np.int64),
        ("time", np.float64),
        ("face_id", np.int32),
        ("restarted", np.bool_),
        ("bbox", np.float64, (4,)),
    ]
    for suffix in ("", *suffixes):
        fields.append((f"landmarks{suffix}", np.float64, (N_LANDMARKS, 2)))
        fields.append((f"uncertainty{suffix}", np.float32, (N_LANDMARKS,)))
    return np.dtype(fields)


def make_row(type: np.dtype[Any], frame: int, time: float, face: Face) -> NDArray[Any]:
    """A row of :func:`row_type`; further solutions are still to be filled in."""
    row = np.zeros((), dtype=type)
    row["frame"], row["time"], row["face_id"], row["restarted"] = frame, time, face.id, face.restarted
    row["bbox"], row["landmarks"], row["uncertainty"] = face.bbox, face.landmarks, face.uncertainty
    return row


def check_points(points: int) -> None:
    """Raises InputError where a file cannot have so many landmarks of a face."""
    if points not in POINTS:
        raise InputError(f"points = {points!r}, expected 98 (WFLW's) or 68 (iBUG's, approximately)")


def chosen_points(values: NDArray[Any], points: int) -> NDArray[Any]:
    """The part of values (N, 98, …) that belongs to so many landmarks: (N, ``points``, …)."""
    return values if points == N_LANDMARKS else values[:, list(IBUG68)]


def write_csv_table(path: str | Path, chunks: Iterable[NDArray[Any]], points: int, format: str = "ldeq") -> None:
    """Writes rows as CSV, coordinates with three decimals.

    Args:
        chunks: arrays of :func:`row_type`.
        points: one of :data:`POINTS`.
        format: ``ldeq`` (``frame, time, face_id, restarted, bbox_x1 … bbox_y2, uncertainty`` (the mean), ``x0, y0, …``,
            ``u0, …``) or ``openface`` (``frame, face_id, timestamp, confidence, success, x_0 … x_67, y_0 … y_67``).

    Raises:
        InputError: where the file cannot be written (a full disk, say), or points or format are others.
    """
    check_points(points)
    if format not in FORMATS:
        raise InputError(f"format = {format!r}, expected one of {', '.join(FORMATS)}")
    if format == "openface" and points != 68:
        raise InputError(f"format = 'openface' with points = {points}, expected 68 as OpenFace has")
    header, lines = (_openface_header(), _openface_lines) if format == "openface" else (_header(points), _lines)
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as table:
        table.write(",".join(header) + "\n")
        for line in lines(chunks, points):
            table.write(line + "\n")


def _header(points: int) -> list[str]:
    bbox = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]
    coordinates = [f"{axis}{index}" for index in range(points) for axis in "xy"]
    spreads = [f"u{index}" for index in range(points)]
    return ["frame", "time", "face_id", "restarted", *bbox, "uncertainty", *coordinates, *spreads]


def _lines(chunks: Iterable[NDArray[Any]], points: int) -> Iterator[str]:
    # One conversion of all numbers of a line takes half the time of one each.
    line = ",".join(["%d,%.6f,%d,%d", *["%.3f"] * 4, "%.6f", *["%.3f"] * (2 * points), *["%.6f"] * points])
    for rows in chunks:
        landmarks, uncertainty = (chosen_points(rows[name], points) for name in ("landmarks", "uncertainty"))
        for row, coordinates, spreads in zip(rows, landmarks, uncertainty, strict=True):
            yield line % (
                row["frame"],
                row["time"],
                row["face_id"],
                row["restarted"],
                *row["bbox"].tolist(),
                spreads.mean(dtype=np.float64),
                *coordinates.ravel().tolist(),
                *spreads.tolist(),
            )


def _openface_header() -> list[str]:
    return ["frame", "face_id", "timestamp", "confidence", "success", *(f"{a}_{i}" for a in "xy" for i in range(68))]


def _openface_lines(chunks: Iterable[NDArray[Any]], points: int) -> Iterator[str]:
    """As OpenFace counts: frames from 1, faces from 0."""
    line = ",".join(["%d,%d,%.3f,%.2f,1", *["%.3f"] * (2 * points)])
    for rows in chunks:
        for row, coordinates in zip(rows, chosen_points(rows["landmarks"], points), strict=True):
            confidence = 1 - min(float(np.median(row["uncertainty"])) / _NO_CONFIDENCE, 1.0)
            numbers = (row["frame"] + 1, row["face_id"] - 1, row["time"], confidence)
            yield line % (*numbers, *coordinates.T.ravel().tolist())


def write_npz_table(
    path: str | Path, chunks: Iterable[NDArray[Any]], n_rows: int, type: np.dtype[Any], points: int
) -> None:
    """Writes rows as an NPZ of the arrays of :func:`row_type`, (N, …) each, in full precision.

    Args:
        chunks: gives the rows each time it is iterated over.
        points: one of :data:`POINTS`.

    Raises:
        InputError: where the file cannot be written, or points are others.
    """
    check_points(points)
    with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in type.names or ():
            _write_column(archive, name, type[name], chunks, n_rows, points)


def _write_column(
    archive: zipfile.ZipFile,
    name: str,
    field: np.dtype[Any],
    chunks: Iterable[NDArray[Any]],
    n_rows: int,
    points: int,
) -> None:
    """Writes a field of all rows as an array of an NPZ."""
    shape = field.shape if not name.startswith(("landmarks", "uncertainty")) else (points, *field.shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(field.base), "fortran_order": False, "shape": (n_rows, *shape)}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for rows in chunks:
            values = rows[name] if shape == field.shape else chosen_points(rows[name], points)
            member.write(np.ascontiguousarray(values).tobytes())


def smooth_rows(rows: NDArray[Any], name: str, fps: float) -> None:
    """Puts smoothed landmarks in the place of those that were found, which go to ``landmarks_unsmoothed``; in place.

    Args:
        rows: of :func:`row_type` with :data:`UNSMOOTHED`; may be on disk, of which a face at a time is in memory.
        name: one of :data:`ldeq.smoothing.FILTERS`.
        fps: frames a second.
    """
    rows[f"landmarks{UNSMOOTHED}"] = rows["landmarks"]
    rows[f"uncertainty{UNSMOOTHED}"] = rows["uncertainty"]
    ids = np.array(rows["face_id"])
    for id in np.unique(ids):
        index = np.flatnonzero(ids == id)
        track = rows[index]
        rows["landmarks"][index] = smooth_tracks(
            track["landmarks"], track["frame"], track["face_id"], track["restarted"], name, fps
        )


class RowsOnDisk:
    """The rows of a video while it is being processed, in a file without a name: memory does not grow with them.

    Iterating gives all rows so far, some thousands at a time, each a structured array of :func:`row_type`.

    Raises:
        InputError: where the disk is full, as from the methods.
    """

    def __init__(self, folder: Path, suffixes: Sequence[str] = ()) -> None:
        self.n_rows = 0
        self.type = row_type(suffixes)
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by close)
        except OSError as error:
            raise cannot_be_written(folder, error) from None

    def add(self, frame: int, time: float, face: Face, frame_by_frame: Face | None = None) -> None:
        """Appends a face of a frame, and the same face as the network finds it without memory."""
        row = make_row(self.type, frame, time, face)
        if frame_by_frame is not None:
            row[f"landmarks{FRAME_BY_FRAME}"] = frame_by_frame.landmarks
            row[f"uncertainty{FRAME_BY_FRAME}"] = frame_by_frame.uncertainty
        try:
            self._file.write(row.tobytes())
        except OSError as error:
            raise cannot_be_written(self._folder, error) from None
        self.n_rows += 1

    def __iter__(self) -> Iterator[NDArray[Any]]:
        self._file.seek(0)
        while content := self._file.read(CHUNK * self.type.itemsize):
            yield np.frombuffer(content, dtype=self.type)

    def smooth(self, name: str, fps: float) -> None:
        """Smooths all rows: see :func:`smooth_rows`."""
        self._file.flush()
        if self.n_rows == 0:
            return
        rows = np.memmap(self._file, dtype=self.type, mode="r+", shape=(self.n_rows,))
        smooth_rows(rows, name, fps)
        rows.flush()

    def close(self) -> None:
        self._file.close()
