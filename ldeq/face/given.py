"""Faces whose bounding boxes are given, frame by frame, in place of a detector and tracking."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldeq.errors import InputError, reason_of
from ldeq.face.crop import FaceCrop, are_boxes
from ldeq.face.landmarker import Face, Landmarker
from ldeq.files import read_archive, read_array

#: By frame, then by the face's id: bounding box (4,), x1 y1 x2 y2 in frame pixels. Frames may be left out.
Bboxes = Mapping[int, Mapping[int, NDArray[np.float64]]]


def read_bboxes(path: str | Path) -> Bboxes:
    """Bboxes of a file.

    A ``.npy`` holds (frames, ≥ 4) as WFLW-V's files do, or (frames, faces, ≥ 4), NaN where a face is not there; face
    ``n`` has the id ``n + 1``, and every frame is there. A ``.npz`` is one that ``predict_video.py`` wrote; it has the
    ids, and the frames with faces.

    Raises:
        InputError: where the file is missing or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected bounding boxes")
    expected = "a NumPy array of bounding boxes"
    if not zipfile.is_zipfile(path):
        return bboxes_from_array(read_array(path, expected), str(path))
    frames, ids, rows = read_archive(path, ("frame", "face_id", "bbox"), f"{expected}, or a landmarks.npz")
    try:
        _check_table(frames, ids, rows)
    except (TypeError, ValueError) as error:  # TypeError of those without dimensions
        raise InputError(f"{path}: cannot be read ({reason_of(error)}), expected {expected}") from None
    return _by_frame(frames, ids, rows, {}, str(path))


def bboxes_from_array(values: ArrayLike, name: str) -> Bboxes:
    """Bboxes of an array (frames, ≥ 4), or (frames, faces, ≥ 4), NaN where a face is not there.

    Face ``n`` has the id ``n + 1``, and every frame is there.

    Args:
        name: what the array is called in a message.

    Raises:
        InputError: where it is something else.
    """
    try:
        array = np.asarray(values)
    except Exception as error:  # rows of different lengths, or whatever an object's own conversion leads to
        raise InputError(f"{name}: is no array ({reason_of(error)}), expected numbers") from None
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: has elements of type {array.dtype}, expected numbers")
    if array.ndim not in (2, 3) or array.shape[-1] < 4:
        expected = "(frames, 4 or more) or (frames, faces, 4 or more)"
        raise InputError(f"{name}: has shape {array.shape}, expected {expected}")
    array = (array[:, None] if array.ndim == 2 else array)[..., :4].astype(np.float64)
    frames, faces = np.nonzero(~np.isnan(array).any(axis=-1))
    return _by_frame(frames, faces + 1, array[frames, faces], {frame: {} for frame in range(len(array))}, name)


def _by_frame(
    frames: NDArray[Any],
    ids: NDArray[Any],
    rows: NDArray[Any],
    bboxes: dict[int, dict[int, NDArray[np.float64]]],
    name: str,
) -> Bboxes:
    wrong = ~are_boxes(rows)
    if wrong.any():
        frame = frames[np.argmax(wrong)]
        raise InputError(f"{name}: frame {frame} lacks a box in frame pixels of at least a pixel (NaN: no face)")
    for frame, id, row in zip(frames.tolist(), ids.tolist(), rows, strict=True):
        bboxes.setdefault(frame, {})[id] = row
    return bboxes


def _check_table(frames: NDArray[Any], ids: NDArray[Any], rows: NDArray[Any]) -> None:
    if frames.dtype.kind not in "iu" or ids.dtype.kind not in "iu":
        raise ValueError(f"frame and face_id of types {frames.dtype}, {ids.dtype}")
    if rows.shape != (len(rows), 4) or not frames.shape == ids.shape == (len(rows),):
        raise ValueError(f"frame, face_id and bbox of shapes {frames.shape}, {ids.shape}, {rows.shape}")
    if len(rows) and (frames.min() < 0 or ids.min() < 1 or ids.max() > np.iinfo(np.int32).max):
        raise ValueError(f"frames from {frames.min()}, face_id {ids.min()} to {ids.max()}: from 0 and from 1")


class GivenFaces:
    """The faces in given bounding boxes, with their ids.

    Recurrence goes on from frame to frame, whatever the image does, until a face's bbox is missing.

    Args:
        landmarker: the network, with its memory of each face.
        bboxes: of each frame (:func:`read_bboxes`).
    """

    def __init__(self, landmarker: Landmarker, bboxes: Bboxes) -> None:
        self._landmarker = landmarker
        self._bboxes = bboxes
        self._before: set[int] = set()

    def step(self, image: NDArray[np.uint8], index: int) -> list[Face]:
        """The faces of frame ``index`` (H, W, 3) RGB, later than the one before; a frame without any has none."""
        bboxes = self._bboxes.get(index, {})
        ids = list(bboxes)
        self._landmarker.restart(*(self._before - set(ids)))
        before, self._before = self._before, set(ids)
        if not ids:
            return []
        crops = [FaceCrop.around(image, bboxes[id]) for id in ids]
        found = self._landmarker.locate(crops, ids)
        faces = []
        for row, (id, crop) in enumerate(zip(ids, crops, strict=True)):
            points, uncertainty = crop.to_frame(found.points[row]), found.uncertainty[row]
            faces.append(Face(id, points, uncertainty, bboxes[id], id not in before, crop))
        return faces
