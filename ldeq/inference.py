"""The one line of Python: landmarks of whatever shows faces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldeq.errors import InputError
from ldeq.face.settings import TrackingSettings
from ldeq.landmark_table import UNSMOOTHED, make_row, row_type, smooth_rows, write_csv_table, write_npz_table
from ldeq.landmarks98 import IBUG68

if TYPE_CHECKING:  # imported by landmarks, at its first use
    from ldeq.face.given import Bboxes
    from ldeq.pipeline import VideoFaces
    from ldeq.video.sources import FrameSource

DEFAULTS = TrackingSettings()


@dataclass(frozen=True, eq=False)
class LandmarkResult:
    """The landmarks of the faces in an image or a video: N rows, a row a face and frame, frames ascending."""

    #: (N, 98, 2) float64, order (x, y), in frame pixels.
    landmarks: NDArray[np.float64]
    #: (N,), numbers of frames from 0.
    frame: NDArray[np.int64]
    #: (N,), seconds from the first frame.
    time: NDArray[np.float64]
    #: (N,), the same number in every frame that shows the face, from 1.
    face_id: NDArray[np.int32]
    #: (N, 4), x1 y1 x2 y2 in frame pixels: the bounding box that the network's crop was made around.
    bbox: NDArray[np.float64]
    #: (N, 98), standard deviation of each landmark's heatmap as a fraction of the crop's side.
    uncertainty: NDArray[np.float32]
    #: (N,), whether this frame's solve started from nothing: a new face, one that was lost, a new shot.
    restarted: NDArray[np.bool_]
    #: Frames in all, those without faces included.
    n_frames: int = 0
    #: Nominal frames a second.
    fps: float = 25.0
    #: Things that were not as they should be, a sentence each.
    warnings: list[str] = field(default_factory=list)
    _rows: NDArray[Any] = field(repr=False, default_factory=lambda: np.zeros(0, row_type()))
    _preview: NDArray[np.uint8] | None = field(repr=False, default=None)

    def __len__(self) -> int:
        return len(self.landmarks)

    def __repr__(self) -> str:
        n_faces = len(np.unique(self.face_id))
        counts = [f"{n} {word}{'s' * (n != 1)}" for n, word in ((n_faces, "face"), (self.n_frames, "frame"))]
        return f"LandmarkResult({' in '.join(counts)}: landmarks {self.landmarks.shape})"

    @property
    def landmarks68(self) -> NDArray[np.float64]:
        """(N, 68, 2): iBUG's 68, approximately (:data:`ldeq.landmarks98.IBUG68`)."""
        return self.landmarks[:, list(IBUG68)]

    def to_csv(self, path: str | Path, points: int = 98, format: str = "ldeq") -> None:
        """Writes the rows as CSV, coordinates with three decimals.

        Args:
            points: 98, or 68 (iBUG's, approximately).
            format: ``ldeq``, or ``openface`` (68 points, columns as OpenFace writes them).

        Raises:
            InputError: where the file cannot be written, or points or format are others.
        """
        write_csv_table(path, [self._rows], points, format)

    def to_npz(self, path: str | Path, points: int = 98) -> None:
        """Writes the rows as arrays ``frame``, ``time``, ``face_id``, ``restarted``, ``bbox``, ``landmarks`` and
        ``uncertainty``; smoothed results also have ``landmarks_unsmoothed``.

        Raises:
            InputError: where the file cannot be written, or points are others than 98 and 68.
        """
        write_npz_table(path, [self._rows], len(self._rows), self._rows.dtype, points)

    def preview(self) -> NDArray[np.uint8] | None:
        """The first frame with the most faces, (H, W, 3) uint8 RGB, with its landmarks drawn; None without a face."""
        if self._preview is None or not len(self):
            return None
        from ldeq.drawing import draw_faces

        frames, counts = np.unique(self.frame, return_counts=True)
        rows = np.flatnonzero(self.frame == frames[np.argmax(counts)])
        return draw_faces(self._preview, {int(self.face_id[row]): self.landmarks[row] for row in rows})

    def _repr_png_(self) -> bytes | None:
        """The preview as PNG, for a notebook."""
        import cv2

        image = self.preview()
        if image is None:
            return None
        return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def landmarks(
    source: Any,
    *,
    weights: str | Path = "synthetic",
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "fp32",
    rwr: bool = True,
    rwr_max_iters: int = 1,
    smoothing: str | bool | None = None,
    bboxes: ArrayLike | str | Path | None = None,
    detector: str | Any = "auto",
    yunet_model: str | Path | None = None,
    max_faces: int = DEFAULTS.max_faces,
    detect_every: int = DEFAULTS.detect_every,
    max_uncertainty: float = DEFAULTS.max_uncertainty,
    fps: float = 25.0,
    progress: Callable[[int, int | None], None] | None = None,
) -> LandmarkResult:
    """The 98 landmarks of every face in an image or a video.

    Args:
        source: the path of a video, an image, or a folder of images (the frames of a video); an array, uint8 RGB, of
            an image (H, W, 3) or of frames (T, H, W, 3); or an iterable of images or of their paths.
        weights: a network's name (``synthetic``, ``wflw``, ``wflw_v``), or the path of a checkpoint or of an exported
            step (``.onnx``).
        runtime: ``torch``, ``onnxruntime``, ``openvino``, or ``auto``: PyTorch where there is a GPU, else the fastest
            that is installed and exact enough (:func:`ldeq.runtime.choice.open_network`).
        device: ``auto`` (CUDA, else MPS, else CPU), or as PyTorch names it.
        precision: ``fp32``, ``bf16`` or ``fp16``, of the network's convolutions, or ``auto``: bf16 where it is faster
            here and exact enough.
        rwr: recurrence without recurrence: a frame's solve starts from the last frame's equilibrium.
        rwr_max_iters: with ``rwr``, solver iterations on every frame.
        smoothing: one of :data:`ldeq.smoothing.FILTERS`, applied to the finished tracks; true for the recommended one.
        bboxes: bounding boxes in place of detection and tracking: (frames, 4) or (frames, faces, 4), x1 y1 x2 y2, NaN
            where a face is not there; or the path of a file of them.
        detector: ``auto``, ``centerface``, ``dlib``, ``yunet``, or any :class:`ldeq.face.detectors.Detector`.
        yunet_model: YuNet's ONNX file, or ``fetch``, which downloads it once.
        max_faces: most faces at a time.
        detect_every: frames between two looks for new faces.
        max_uncertainty: a face whose median uncertainty stays above it is lost.
        fps: frames a second of a folder's images and of arrays.
        progress: called after each frame with the frames done, and those in all where that is known.

    Raises:
        InputError: where an argument cannot be used; the message is one sentence.

    >>> result = ldeq.landmarks("clip.mp4")  # doctest: +SKIP
    >>> result.landmarks.shape  # doctest: +SKIP
    (151, 98, 2)
    """
    from ldeq.config import SolverConfig, check_runtime
    from ldeq.fields import coerced, field_named
    from ldeq.video.sources import open_source

    check_runtime(runtime, precision)
    rwr_max_iters = coerced(field_named(SolverConfig, "max_iters"), rwr_max_iters, "rwr_max_iters")
    tracking = TrackingSettings(detect_every=detect_every, max_faces=max_faces, max_uncertainty=max_uncertainty)
    _check_fps(fps)
    filter_name = _filter_named(smoothing)
    given = _given_bboxes(bboxes)

    with open_source(source, fps) as frames:
        # Only now, as it takes a second: what has no frames is refused at once.
        from ldeq.face.detectors import make_detector
        from ldeq.pipeline import Pipeline
        from ldeq.runtime.choice import open_network
        from ldeq.solve_settings import SolveSettings

        solving = SolveSettings(rwr=rwr, max_iters=rwr_max_iters)
        network = open_network(weights, runtime=runtime, device=device, precision=precision, settings=solving).network
        pipeline = Pipeline(
            network,
            solving,
            tracking=tracking,
            detector=lambda: make_detector(detector, yunet_model) if isinstance(detector, str) else detector,
        )
        faces = pipeline.faces(given)
        table, n_frames, preview = _follow(faces, frames, [UNSMOOTHED] if filter_name else [], progress)
        tally = faces.landmarker.tally
        settings = solving.to_converge(network.solver_config)
        unconverged = None if settings is None else tally.mostly_not_converged(settings)
        warnings = [*frames.check(), *filter(None, [tally.check(), unconverged])]
    if filter_name is not None:
        smooth_rows(table, filter_name, frames.fps)
    return LandmarkResult(
        landmarks=table["landmarks"],
        frame=table["frame"],
        time=table["time"],
        face_id=table["face_id"],
        bbox=table["bbox"],
        uncertainty=table["uncertainty"],
        restarted=table["restarted"],
        n_frames=n_frames,
        fps=frames.fps,
        warnings=warnings,
        _rows=table,
        _preview=preview,
    )


def _follow(
    faces: "VideoFaces",
    frames: "FrameSource",
    suffixes: Sequence[str],
    progress: Callable[[int, int | None], None] | None,
) -> tuple[NDArray[Any], int, NDArray[np.uint8] | None]:
    """Finds the faces of every frame.

    Args:
        suffixes: as of :func:`ldeq.landmark_table.row_type`.

    Returns:
        Rows (N,) of that type, the number of frames, and the first frame with the most faces, None without a face.
    """
    from ldeq.pipeline import decoded_ahead

    type = row_type(suffixes)
    rows: list[NDArray[Any]] = []
    preview, most, n_frames = None, 0, 0
    with decoded_ahead(frames) as ahead:
        for frame, found in faces.follow(ahead):
            rows += [make_row(type, frame.index, frame.time, face) for face in found]
            if len(found) > most:
                preview, most = frame.image.copy(), len(found)
            n_frames += 1
            if progress is not None:
                progress(n_frames, frames.n_frames)
    return (np.array(rows, dtype=type) if rows else np.zeros(0, dtype=type)), n_frames, preview


def _check_fps(fps: float) -> None:
    from ldeq.config import FPS
    from ldeq.fields import convert

    if convert("float", fps) is None or not FPS[0] <= fps <= FPS[1]:
        raise InputError(f"fps = {fps!r}, expected frames a second, from {FPS[0]:g} to {FPS[1]:g}")


def _filter_named(smoothing: str | bool | None) -> str | None:
    """The name of the filter that is asked for; None for none."""
    from ldeq.smoothing import RECOMMENDED, named_filter

    name = RECOMMENDED if smoothing is True else smoothing or None
    if name is not None:
        named_filter(name)
    return name


def _given_bboxes(bboxes: ArrayLike | str | Path | None) -> "Bboxes | None":
    from ldeq.face.given import bboxes_from_array, read_bboxes

    if isinstance(bboxes, (str, Path)):
        return read_bboxes(bboxes)
    return None if bboxes is None else bboxes_from_array(bboxes, "bboxes")
