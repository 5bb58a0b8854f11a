"""Faces whose boxes are given, frame by frame, in place of a detector and tracking."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ldeq import InputError
from ldeq.errors import reason_of
from utils.cropping import FaceCrop
from utils.faces import Face, Landmarker, compare

#: No coordinate in frame pixels is as large.
FARTHEST = 1e5


def read_boxes(path: str | Path) -> NDArray[np.float64]:
    """Boxes of a file, (frames, faces, 4), x1 y1 x2 y2 in frame pixels; NaN where a face is not there.

    A ``.npy`` holds (frames, ≥ 4) as WFLW-V's files do, or (frames, faces, ≥ 4); a ``.npz`` is one that
    ``predict_video.py`` wrote.

    Raises:
        InputError: where the file is missing or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected boxes")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            boxes = np.asarray(loaded, dtype=np.float64)
        else:
            with loaded:
                boxes = _from_rows(loaded["frame"], loaded["face_id"], loaded["bbox"])
    except Exception as error:  # NumPy raises whatever the damage in the file leads to
        raise InputError(f"{path}: cannot be read ({reason_of(error)}), expected a NumPy array of boxes") from None
    if boxes.ndim not in (2, 3) or boxes.shape[-1] < 4:
        raise InputError(f"{path}: has shape {boxes.shape}, expected (frames, 4 or more) or (frames, faces, 4 or more)")
    boxes = (boxes[:, None] if boxes.ndim == 2 else boxes)[..., :4]
    there = ~np.isnan(boxes).any(axis=-1)
    corners = np.trunc(boxes + 0.5)
    sound = (np.abs(boxes) < FARTHEST).all(axis=-1) & ((corners[..., 2:] - corners[..., :2]).max(axis=-1) >= 1)
    if not (sound | ~there).all():
        frame = int(np.argmin((sound | ~there).all(axis=1)))
        raise InputError(f"{path}: frame {frame} lacks a box in frame pixels of at least a pixel (NaN: no face)")
    return boxes


class GivenFaces:
    """The faces in given boxes; face ``n`` of the file has the id ``n + 1``.

    Recurrence goes on from frame to frame, whatever the picture does, until a face's box is missing.

    Args:
        landmarker: the network, with its memory of each face.
        boxes: (frames, faces, 4), NaN where a face is not there (:func:`read_boxes`).
        frame_by_frame: a network without memory, asked about the same crops for comparison.
    """

    def __init__(
        self, landmarker: Landmarker, boxes: NDArray[np.float64], frame_by_frame: Landmarker | None = None
    ) -> None:
        self._landmarker = landmarker
        self._boxes = boxes
        self._frame_by_frame = frame_by_frame
        self._before: set[int] = set()
        self._index = -1

    def step(self, picture: NDArray[np.uint8], index: int | None = None) -> list[Face]:
        """The faces of the video's next frame (H, W, 3) RGB; beyond the last boxes there are none.

        Args:
            index: the frame's number where some cannot be read and are left out; if not given, one more than before.
        """
        self._index = self._index + 1 if index is None else index
        boxes = self._boxes[self._index] if self._index < len(self._boxes) else np.empty((0, 4))
        ids = [int(index) + 1 for index in np.flatnonzero(~np.isnan(boxes).any(axis=-1))]
        self._landmarker.restart(*(self._before - set(ids)))
        before, self._before = self._before, set(ids)
        if not ids:
            return []
        crops = [FaceCrop.around(picture, boxes[id - 1]) for id in ids]
        found = self._landmarker.locate(crops, ids)
        compared = compare(self._frame_by_frame, crops, ids)
        faces = []
        for row, (id, crop) in enumerate(zip(ids, crops, strict=True)):
            points, uncertainty = crop.to_frame(found.points[row]), found.uncertainty[row]
            faces.append(Face(id, points, uncertainty, boxes[id - 1], id not in before, compared[row]))
        return faces


def _from_rows(frames: NDArray[np.int64], ids: NDArray[np.int32], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,), (N,) and (N, 4) → (frames, faces, 4)."""
    if not len(frames):
        return np.empty((0, 0, 4))
    if frames.min() < 0 or ids.min() < 1:
        raise ValueError(f"frame {frames.min()}, face_id {ids.min()}: from 0 and from 1")
    boxes = np.full((int(frames.max()) + 1, int(ids.max()), 4), np.nan)
    boxes[frames, ids - 1] = rows
    return boxes
