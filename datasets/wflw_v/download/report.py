"""``download_report.csv``: a row a video, from this run and those before."""

import csv
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.wflw_v import Clip
from datasets.wflw_v.download.paths import REPORT, rejected_path
from ldeq.files import write_csv
from utils.download.failure import Failure, Kind

if TYPE_CHECKING:
    from datasets.wflw_v.download.videos import FinishedClip

COLUMNS = (
    *("id", "split", "status", "kind", "message", "attempts", "downloaded_bytes", "file_bytes"),
    *("width", "height", "frames", "source", "stream", "note"),
)
COMPLETE, FAILED = "complete", "failed"


class Report:
    """The outcome of each video's download, in a table that is on disk after every video.

    Args:
        root: the data set's folder; rows of the report that is there are kept.
        splits: split by id, of all videos in the order of the report.
    """

    def __init__(self, root: Path, splits: dict[str, str]) -> None:
        self.path = root / REPORT
        self._root = root
        self._splits = splits
        self._rows = _read(self.path)

    def is_complete(self, id: str) -> bool:
        """True if a clip has been made and checked, and its file has the same size since."""
        row = self._rows.get(id)
        if row is None or row["status"] != COMPLETE:
            return False
        try:
            return str(Clip(self._root, id).video_path.stat().st_size) == str(row["file_bytes"])
        except OSError:
            return False

    def add(self, id: str, result: "FinishedClip | Failure", attempts: int, n_bytes: int, source: str) -> None:
        """Records a video and writes the table.

        Args:
            attempts: the number of attempts to download it.
            n_bytes: the number of bytes that they transferred.
            source: ``youtube`` or ``archive``.
        """
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
        row |= {"id": id, "split": self._splits[id], "attempts": attempts, "downloaded_bytes": n_bytes}
        row |= {"source": source, "stream": result.stream}
        if isinstance(result, Failure):
            row |= {"status": FAILED, "kind": result.kind.value, "message": result.message}
            rejected = rejected_path(Clip(self._root, id).video_path)
            if rejected.is_file():
                row["note"] = f"the clip that was there before is {rejected.name}"
        else:
            row |= {"status": COMPLETE, "file_bytes": result.file_bytes, "width": result.width}
            row |= {"height": result.height, "frames": result.n_frames, "note": result.note}
        self._rows[id] = row
        self.write()

    def has_failed(self, id: str, source: str) -> bool:
        """True if the last attempt was from ``source``, and had a failure that another one would not change."""
        row = self._rows.get(id, {})
        lasting = row.get("kind") in (Kind.REMOVED, Kind.LENGTH, Kind.WRONG_SIZE)
        return row.get("status") == FAILED and lasting and row["source"] == source

    def write(self) -> None:
        """Writes the table."""
        rows = [self._rows[id] for id in self._splits if id in self._rows]
        if rows:
            write_csv(self.path, rows)

    def failures(self, ids: Collection[str]) -> dict[str, tuple[Kind, str]]:
        """Kind and message of the failures among ``ids``."""
        failed = {id: self._rows[id] for id in ids if id in self._rows and self._rows[id]["status"] == FAILED}
        return {id: (Kind(row["kind"]), str(row["message"])) for id, row in failed.items()}

    def counts(self, ids: Collection[str]) -> Counter[Kind]:
        """The number of failures of each kind among ``ids``."""
        return Counter(kind for kind, _ in self.failures(ids).values())


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of an earlier report by id. Rows that cannot be used are left out: their videos are checked again."""
    try:
        with path.open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    kinds = {kind.value for kind in Kind}
    usable = [row for row in rows if row.keys() == set(COLUMNS) and (row["status"] == COMPLETE or row["kind"] in kinds)]
    return {row["id"]: row for row in usable}
