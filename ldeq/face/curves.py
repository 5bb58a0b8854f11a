"""What is measured of each face along a video: how unsure the network is of it, and how its landmarks jitter."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldeq.metrics import frame_jitter


@dataclass
class FaceCurve:
    """One face, solved in one way."""

    #: Seconds and mean uncertainty of every frame that shows the face.
    times: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    #: :func:`ldeq.metrics.frame_jitter` of every frame between two others that show it (NaN: of the others), a
    #: value a frame but for the first and last.
    jitter: NDArray[np.float64]

    def summary(self) -> dict[str, float | int | None]:
        """For run.json: means, the jitter's as root mean square."""
        measured = self.jitter[np.isfinite(self.jitter)]
        return {
            "n_frames": len(self.times),
            "first": float(self.times[0]),
            "last": float(self.times[-1]),
            "uncertainty": float(self.uncertainty.mean()),
            "jitter": float(np.sqrt((measured**2).mean())) if len(measured) else None,
        }


@dataclass
class _Growing:
    """A curve while it is read; of the rows only the last two are kept."""

    rows: NDArray[Any] | None = None
    times: list[NDArray[np.float64]] = field(default_factory=list)
    uncertainty: list[NDArray[np.float64]] = field(default_factory=list)
    jitter: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, rows: NDArray[Any], suffix: str) -> None:
        self.times.append(rows["time"].copy())
        self.uncertainty.append(rows[f"uncertainty{suffix}"].mean(axis=1, dtype=np.float64))
        joined = rows if self.rows is None else np.concatenate([self.rows, rows])
        values = np.full(len(joined), np.nan)
        breaks = np.flatnonzero(np.diff(joined["frame"]) != 1) + 1
        for part in np.split(np.arange(len(joined)), breaks):
            values[part] = frame_jitter(joined[f"landmarks{suffix}"][part], joined["time"][part])
        self.jitter.append(values[1:-1])
        self.rows = joined[-2:].copy()

    def finished(self) -> FaceCurve:
        return FaceCurve(*(np.concatenate(values) for values in (self.times, self.uncertainty, self.jitter)))


def face_curves(chunks: Iterable[NDArray[Any]], suffix: str = "") -> dict[int, FaceCurve]:
    """The curve of each face by its id, from rows of :func:`ldeq.landmark_table.row_type`.

    Args:
        suffix: ``_frame_by_frame`` for what the network says without memory.
    """
    growing: dict[int, _Growing] = {}
    for rows in chunks:
        for id in np.unique(rows["face_id"]).tolist():
            growing.setdefault(id, _Growing()).add(rows[rows["face_id"] == id], suffix)
    return {id: growing[id].finished() for id in sorted(growing)}
