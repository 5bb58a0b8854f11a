"""The landmarks of a video on disk: ``landmarks.csv`` and ``landmarks.npz``, a row a face and frame."""

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldeq.files import WholeFile, cannot_be_written, written_whole
from utils.faces import Face
from utils.landmarks98 import N_LANDMARKS

#: Rows that are read back at a time.
CHUNK = 4096


def row_type(frame_by_frame: bool) -> np.dtype[Any]:
    """The fields of a row, which are the arrays of the NPZ."""
    fields: list[Any] = [
        ("frame", np.int64),
        ("time", np.float64),
        ("face_id", np.int32),
        ("restarted", np.bool_),
        ("bbox", np.float64, (4,)),
        ("landmarks", np.float64, (N_LANDMARKS, 2)),
        ("uncertainty", np.float32, (N_LANDMARKS,)),
    ]
    if frame_by_frame:
        fields += [
            ("landmarks_frame_by_frame", np.float64, (N_LANDMARKS, 2)),
            ("uncertainty_frame_by_frame", np.float32, (N_LANDMARKS,)),
        ]
    return np.dtype(fields)


class LandmarkFiles:
    """Writes rows as they come; memory does not grow with them.

    The CSV has ``frame, time, face_id, restarted, bbox_x1 … bbox_y2, uncertainty`` (the mean), ``x0, y0, …, x97, y97``
    and ``u0 … u97``; the NPZ the fields of :func:`row_type`, (N, …) each. Both appear at :meth:`finish`.

    Args:
        frame_by_frame: whether faces have a frame-by-frame solution, which goes into the NPZ.

    Raises:
        InputError: where a file cannot be written (a full disk, say), as from the methods.
    """

    def __init__(self, folder: Path, frame_by_frame: bool = False) -> None:
        self.csv, self.npz = folder / "landmarks.csv", folder / "landmarks.npz"
        self.n_rows = 0
        self._type = row_type(frame_by_frame)
        try:
            self._rows = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by finish and discard)
            self._whole = WholeFile(self.csv)
            self._table = self._whole.temporary.open("w", encoding="utf-8", newline="\n")
            self._table.write(",".join(_header()) + "\n")
        except OSError as error:
            raise cannot_be_written(self.csv, error) from None

    def add(self, frame: int, time: float, face: Face) -> None:
        """Appends a face of a frame."""
        row = np.zeros((), dtype=self._type)
        row["frame"], row["time"], row["face_id"], row["restarted"] = frame, time, face.id, face.restarted
        row["bbox"], row["landmarks"], row["uncertainty"] = face.bbox, face.landmarks, face.uncertainty
        if face.frame_by_frame is not None and "landmarks_frame_by_frame" in (self._type.names or ()):
            row["landmarks_frame_by_frame"], row["uncertainty_frame_by_frame"] = face.frame_by_frame
        numbers = [*row["bbox"].tolist(), row["uncertainty"].mean(), *row["landmarks"].ravel(), *row["uncertainty"]]
        words = [str(frame), repr(float(time)), str(face.id), str(int(face.restarted)), *map(str, numbers)]
        try:
            self._rows.write(row.tobytes())
            self._table.write(",".join(words) + "\n")
        except OSError as error:
            raise cannot_be_written(self.csv, error) from None
        self.n_rows += 1

    def chunks(self) -> Iterator[NDArray[Any]]:
        """All rows so far, some thousands at a time, each a structured array of :func:`row_type`."""
        self._rows.seek(0)
        while content := self._rows.read(CHUNK * self._type.itemsize):
            yield np.frombuffer(content, dtype=self._type)

    def finish(self) -> None:
        """Gives both files their names."""
        try:
            self._table.close()
            self._whole.commit()
        except OSError as error:
            raise cannot_be_written(self.csv, error) from None
        with written_whole(self.npz) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in self._type.names or ():
                field = self._type[name]
                header = {
                    "descr": np.lib.format.dtype_to_descr(field.base),
                    "fortran_order": False,
                    "shape": (self.n_rows, *field.shape),
                }
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    for rows in self.chunks():
                        member.write(np.ascontiguousarray(rows[name]).tobytes())

    def close(self) -> None:
        """Drops what is not finished."""
        self._rows.close()
        self._table.close()
        self._whole.discard()


def _header() -> list[str]:
    box = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]
    points = [f"{axis}{index}" for index in range(N_LANDMARKS) for axis in "xy"]
    spreads = [f"u{index}" for index in range(N_LANDMARKS)]
    return ["frame", "time", "face_id", "restarted", *box, "uncertainty", *points, *spreads]
