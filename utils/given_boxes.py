"""Faces whose boxes are given, frame by frame, in place of a detector and tracking."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldeq import InputError
from ldeq.errors import reason_of
from utils.cropping import FaceCrop, are_boxes
from utils.faces import Face, Landmarker, compare

#: By frame, then by the face's id: box (4,), x1 y1 x2 y2 in frame pixels. Frames may be left out.
Boxes = Mapping[int, Mapping[int, NDArray[np.float64]]]


def read_boxes(path: str | Path) -> Boxes:
    """Boxes of a file.

    A ``.npy`` holds (frames, ≥ 4) as WFLW-V's files do, or (frames, faces, ≥ 4), NaN where a face is not there; face
    ``n`` has the id ``n + 1``, and every frame is there. A ``.npz`` is one that ``predict_video.py`` wrote; it has the
    ids, and the frames with faces.

    Raises:
        InputError: where the file is missing or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected boxes")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = np.asarray(loaded, dtype=np.float64)
        else:
            with loaded:
                frames, ids, rows = (loaded[name] for name in ("frame", "face_id", "bbox"))
            _check_table(frames, ids, rows)
    except Exception as error:  # NumPy raises whatever the damage in the file leads to
        raise InputError(f"{path}: cannot be read ({reason_of(error)}), expected a NumPy array of boxes") from None
    boxes: dict[int, dict[int, NDArray[np.float64]]] = {}
    if isinstance(loaded, np.ndarray):
        if array.ndim not in (2, 3) or array.shape[-1] < 4:
            expected = "(frames, 4 or more) or (frames, faces, 4 or more)"
            raise InputError(f"{path}: has shape {array.shape}, expected {expected}")
        array = (array[:, None] if array.ndim == 2 else array)[..., :4]
        frames, faces = np.nonzero(~np.isnan(array).any(axis=-1))
        ids, rows = faces + 1, array[frames, faces]
        boxes = {frame: {} for frame in range(len(array))}
    wrong = ~are_boxes(rows)
    if wrong.any():
        frame = frames[np.argmax(wrong)]
        raise InputError(f"{path}: frame {frame} lacks a box in frame pixels of at least a pixel (NaN: no face)")
    for frame, id, row in zip(frames.tolist(), ids.tolist(), rows, strict=True):
        boxes.setdefault(frame, {})[id] = row
    return boxes


def _check_table(frames: NDArray[Any], ids: NDArray[Any], rows: NDArray[Any]) -> None:
    if frames.dtype.kind not in "iu" or ids.dtype.kind not in "iu" or rows.dtype.kind not in "iuf":
        raise ValueError(f"frame, face_id and bbox of types {frames.dtype}, {ids.dtype}, {rows.dtype}")
    if rows.shape != (len(rows), 4) or not frames.shape == ids.shape == (len(rows),):
        raise ValueError(f"frame, face_id and bbox of shapes {frames.shape}, {ids.shape}, {rows.shape}")
    if len(rows) and (frames.min() < 0 or ids.min() < 1 or ids.max() > np.iinfo(np.int32).max):
        raise ValueError(f"frames from {frames.min()}, face_id {ids.min()} to {ids.max()}: from 0 and from 1")


class GivenFaces:
    """The faces in given boxes, with their ids.

    Recurrence goes on from frame to frame, whatever the picture does, until a face's box is missing.

    Args:
        landmarker: the network, with its memory of each face.
        boxes: of each frame (:func:`read_boxes`).
        frame_by_frame: a network without memory, asked about the same crops for comparison.
    """

    def __init__(self, landmarker: Landmarker, boxes: Boxes, frame_by_frame: Landmarker | None = None) -> None:
        self._landmarker = landmarker
        self._boxes = boxes
        self._frame_by_frame = frame_by_frame
        self._before: set[int] = set()
        self._index = -1

    def step(self, picture: NDArray[np.uint8], index: int | None = None) -> list[Face]:
        """The faces of the video's next frame (H, W, 3) RGB; a frame without boxes has none.

        Args:
            index: the frame's number where some cannot be read and are left out; if not given, one more than before.
        """
        self._index = self._index + 1 if index is None else index
        boxes = self._boxes.get(self._index, {})
        ids = list(boxes)
        self._landmarker.restart(*(self._before - set(ids)))
        before, self._before = self._before, set(ids)
        if not ids:
            return []
        crops = [FaceCrop.around(picture, boxes[id]) for id in ids]
        found = self._landmarker.locate(crops, ids)
        compared = compare(self._frame_by_frame, crops, ids)
        faces = []
        for row, (id, crop) in enumerate(zip(ids, crops, strict=True)):
            points, uncertainty = crop.to_frame(found.points[row]), found.uncertainty[row]
            faces.append(Face(id, points, uncertainty, boxes[id], id not in before, compared[row]))
        return faces
