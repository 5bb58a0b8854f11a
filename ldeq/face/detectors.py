"""Face detectors: a frame → the boxes of the faces in it, as the landmark network wants them.

A detector's own box is another one than the tight box of 98 landmarks; each detector here gives the latter, as well as
it can be told from the former.
"""

import http.client
import math
import threading
import urllib.request
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError
from ldeq.face.settings import DETECTORS
from ldeq.fetch import check_address
from ldeq.files import sha256_of, sha256_of_bytes, written_whole
from ldeq.onnx_session import open_session
from ldeq.pretrained import cache_folder

#: Images are scaled to this longer side before detection.
DEFAULT_SIDE = 960

#: OpenCV's zoo (github.com/opencv/opencv_zoo, MIT licence).
YUNET_URL = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx"
)
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"


class Detector(Protocol):
    """Finds faces."""

    def detect(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Frame (H, W, 3) RGB → (faces, 4), x1 y1 x2 y2 in frame pixels: about the tight boxes of the landmarks."""
        ...


@runtime_checkable
class ClosenessDetector(Protocol):
    """A detector that can look closely, which takes longer and finds smaller faces too. To begin with it does."""

    closely: bool

    def detect(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See :class:`Detector`."""
        ...


class _LookingTwice(ABC):
    """A detector that looks at an image in which it finds nothing once more, for faces that fill the image or are cut
    off by its edge: with a border.

    Since that takes longer, of empty images in a row only the first, second, fourth, eighth … are looked at so.

    Args:
        side: images are scaled to this longer side.
        side_with_border: the same of those with a border.
    """

    def __init__(self, side: int, side_with_border: int) -> None:
        self._side = side
        self._side_with_border = side_with_border
        self._n_empty = 0

    def detect(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See :class:`Detector`."""
        boxes = self._detect(image, self._side_of_first_look)
        self._n_empty = 0 if len(boxes) else self._n_empty + 1
        if self._n_empty & (self._n_empty - 1) or not self._n_empty:
            return boxes
        border = max(image.shape[:2]) // 4
        wide = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
        boxes = self._detect(np.asarray(wide, dtype=np.uint8), self._side_with_border) - border
        self._n_empty = 0 if len(boxes) else self._n_empty
        return np.asarray(boxes, dtype=np.float64)

    @property
    def _side_of_first_look(self) -> int:
        return self._side

    @abstractmethod
    def _detect(self, image: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
        """The boxes in an image that is scaled to this longer side."""


class DlibDetector(_LookingTwice):
    """dlib's frontal face detector (HOG and a linear classifier): needs no model file.

    Finds faces from about 80 pixels of the scaled image on, which is a twelfth of its longer side; profiles it does
    not find.

    Args:
        min_score: faces below it are left out; lower finds more faces and more that are none.
        side: images are scaled to this longer side.

    Raises:
        InputError: where dlib is not installed.
    """

    #: From dlib's box (a square) to the landmarks': how far its centre moves down and what its side is multiplied by.
    #: Means over the bundled clips, where they scatter by 0.04 and 0.08.
    SHIFT, SCALE = 0.07, 1.03

    def __init__(self, min_score: float = 0.0, side: int = DEFAULT_SIDE) -> None:
        super().__init__(side, 2 * side)  # the larger side is for small faces
        _import_dlib()
        self._min_score = min_score

    @property
    def _detector(self) -> Any:
        return _frontal_face_detector()

    def _detect(self, image: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
        scaled, scale = _scaled(image, side)
        faces, _, _ = self._detector.run(scaled, 0, self._min_score)
        boxes = np.array([[f.left(), f.top(), f.right() + 1, f.bottom() + 1] for f in faces], dtype=np.float64)
        boxes = boxes.reshape(-1, 4) / scale
        extent = boxes[:, 2:] - boxes[:, :2]
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + extent * (0, self.SHIFT)
        return np.concatenate([centre - extent * self.SCALE / 2, centre + extent * self.SCALE / 2], axis=1)


class YuNetDetector:
    """OpenCV's YuNet, a small convolutional network: finds turned, small and partly hidden faces too.

    Args:
        model: ``face_detection_yunet_2023mar.onnx`` (:func:`fetch_yunet`).
        min_score: faces below it (in [0, 1]) are left out.
        side: images are scaled to this longer side.

    Raises:
        InputError: where the model file is missing or is none of YuNet.
    """

    #: Its boxes reach from the forehead to the chin and the landmarks only from the brows on: the part of the height
    #: that is cut off above.
    FOREHEAD = 0.2

    def __init__(self, model: str | Path, min_score: float = 0.7, side: int = DEFAULT_SIDE) -> None:
        if not Path(model).is_file():
            raise InputError(f"{model}: no such file, expected YuNet's model (fetch downloads it)")
        try:
            self._detector = cv2.FaceDetectorYN.create(str(model), "", (320, 320), min_score)
            self._detector.detect(np.zeros((320, 320, 3), dtype=np.uint8))
        except cv2.error:
            raise InputError(f"{model}: cannot be read, expected YuNet's model in ONNX") from None
        self._side = side

    def detect(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See :class:`Detector`."""
        scaled, scale = _scaled(image, self._side)
        self._detector.setInputSize((scaled.shape[1], scaled.shape[0]))
        _, faces = self._detector.detect(cv2.cvtColor(scaled, cv2.COLOR_RGB2BGR))
        if faces is None:
            return np.empty((0, 4))
        return _without_forehead(np.asarray(faces[:, :4], dtype=np.float64) / scale, self.FOREHEAD)


#: CenterFace's outputs that a box is read from: how sure it is of a face's middle, the logarithm of the box's height
#: and width in cells, and the middle's place in its cell (y, x). The fifth, five landmarks, is not used.
CENTERFACE_OUTPUTS = ("537", "538", "539")


def centerface_model() -> Path:
    """CenterFace's ONNX file, which comes with the package (``assets/make_centerface.py``)."""
    return Path(__file__).resolve().parent.parent / "weights" / "centerface.onnx"


class CenterFaceDetector(_LookingTwice):
    """CenterFace (Xu et al. 2019), a convolutional network that comes with the package: finds faces that are turned,
    partly hidden and small: of those of 24 pixels in the scaled image seven in ten.

    What it is not sure of, it looks at once more, cut out of the image and scaled to a size at which it is at its best:
    there, faces score higher, and what is none next to nothing (``python -m benchmarks.detection``).

    Args:
        min_score: faces below it (in [0, 1]) are left out; of those seen twice it is the mean of both scores.
        side: larger images are scaled to this longer side, or twice that where it looks closely; smaller ones stay as
            they are.
    """

    #: From its boxes to the landmarks': the part of the height that is cut off above, where its boxes have the
    #: forehead. The mean over the bundled clips, where it scatters by 0.03; the other edges are the same, and scatter
    #: by 0.03 to 0.04.
    FOREHEAD = 0.23
    #: What scores less at the first look, as a part of ``min_score``, is no face, and what scores more than this sure.
    DOUBTFUL, SURE = 0.25, 0.6
    #: Most faces that are looked at once more, in a square of so many pixels in which they have so many.
    MOST_DOUBTFUL, CLOSE_UP, FACE_IN_CLOSE_UP = 32, 128, 48
    #: Image pixels a cell of its outputs; images are scaled to multiples of the largest stride within the network.
    _CELL, _STRIDE = 4, 32
    #: Of two boxes that overlap by more (intersection over union) the surer one is a face. Of all cells the surest are
    #: looked at.
    _MOST_OVERLAP, _MOST_CELLS = 0.3, 2000

    def __init__(self, min_score: float = 0.4, side: int = DEFAULT_SIDE) -> None:
        super().__init__(side, side)
        self._network = open_session(centerface_model())
        self._min_score = min_score
        #: See :class:`ClosenessDetector`.
        self.closely = True

    @property
    def _side_of_first_look(self) -> int:
        return 2 * self._side if self.closely else self._side

    def _detect(self, image: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
        scaled, _ = _scaled(image, min(side, max(image.shape[:2])))
        width, height = (self._STRIDE * max(1, round(n / self._STRIDE)) for n in (scaled.shape[1], scaled.shape[0]))
        # Again: one reduction by area, to a size that is no whole part, would take longer than both.
        scaled = np.asarray(cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        ((boxes, scores),) = self._look(scaled[None])
        boxes = boxes * (np.array(image.shape[1::-1] * 2) / (width, height, width, height))
        sure = scores > max(self.SURE, self._min_score)
        doubtful = np.flatnonzero(~sure)[: self.MOST_DOUBTFUL]
        if len(doubtful):
            close_ups = np.stack([self._close_up(image, box) for box in boxes[doubtful]])
            seen = [self._score_in_the_middle(*found) for found in self._look(close_ups)]
            sure[doubtful] = (scores[doubtful] + seen) / 2 > self._min_score
        return np.asarray(boxes[sure])

    def _look(self, images: NDArray[np.uint8]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Of each of some images (N, H, W, 3), whose sides are multiples of the stride, in its pixels: the landmarks'
        boxes (faces, 4) of all that may be a face, and their scores (faces,), the highest first.
        """
        levels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
        outputs = self._network.run(list(CENTERFACE_OUTPUTS), {"input.1": levels})
        return [self._decode(sure, size, offset) for (sure,), size, offset in zip(*outputs, strict=True)]

    def _decode(
        self, sure: NDArray[np.float32], sizes: NDArray[np.float32], offsets: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """From the outputs (H, W), (2, H, W) and (2, H, W) of an image to boxes and scores."""
        least = self.DOUBTFUL * self._min_score
        cells = np.flatnonzero(sure > least)
        cells = cells[np.argsort(-sure.ravel()[cells], kind="stable")[: self._MOST_CELLS]]
        rows, columns = np.unravel_index(cells, sure.shape)
        scores = sure[rows, columns].astype(np.float64)
        extent = self._CELL * np.exp(sizes[::-1, rows, columns].astype(np.float64)).T
        middle = self._CELL * (np.stack([columns, rows], axis=1) + 0.5 + offsets[::-1, rows, columns].T)
        corners = middle - extent / 2
        boxes = np.concatenate([corners, extent], axis=1)
        kept = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), least, self._MOST_OVERLAP), dtype=int)
        return _without_forehead(boxes[kept.ravel()], self.FOREHEAD), scores[kept.ravel()]

    def _close_up(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
        """A square around a box, in which it has the size :data:`FACE_IN_CLOSE_UP`."""
        side = max(1.0, float((box[2:] - box[:2]).max()) * self.CLOSE_UP / self.FACE_IN_CLOSE_UP)
        # A box may be of any size; where it is large, not every pixel is needed.
        sampled = min(round(side), 8 * self.CLOSE_UP)
        scale = sampled / side
        x, y = (scale * (0.5 - (box[:2] + box[2:]) / 2) + sampled / 2 - 0.5).tolist()
        matrix = np.array([[scale, 0, x], [0, scale, y]])
        # Beyond the image its edge goes on.
        square = cv2.warpAffine(image, matrix, (sampled, sampled), borderMode=cv2.BORDER_REPLICATE)
        how = cv2.INTER_AREA if sampled > self.CLOSE_UP else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(square, (self.CLOSE_UP, self.CLOSE_UP), interpolation=how), dtype=np.uint8)

    def _score_in_the_middle(self, boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
        """The score of the face that a close-up has been made of; 0 where it shows none."""
        size = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / self.FACE_IN_CLOSE_UP
        away = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - self.CLOSE_UP / 2).max(axis=1) / self.FACE_IN_CLOSE_UP
        return float(scores[(size > 0.5) & (size < 2) & (away < 0.4)].max(initial=0.0))


def _without_forehead(boxes: NDArray[np.float64], forehead: float) -> NDArray[np.float64]:
    """A detector's boxes (faces, 4), each left, top, width, height → the landmarks', each x1 y1 x2 y2.

    Args:
        forehead: the part of the height that is cut off above.
    """
    left, top, width, height = boxes.T
    return np.stack([left, top + forehead * height, left + width, top + height], axis=1)


def make_detector(
    name: str = "auto", yunet_model: str | Path | None = None, min_score: float | None = None, side: int = DEFAULT_SIDE
) -> Detector:
    """A detector by its name.

    Args:
        name: ``centerface``, ``dlib``, ``yunet``, or ``auto``: YuNet where its model is given, else CenterFace.
        yunet_model: YuNet's ONNX file, or ``fetch``, which downloads it once.
        min_score: faces below it are left out; the detector's own if None.
        side: images are scaled to this longer side.

    Raises:
        InputError: where it cannot be had.
    """
    if name not in DETECTORS:
        raise InputError(f"detector = {name!r}, expected one of {', '.join(DETECTORS)}")
    score = {} if min_score is None else {"min_score": min_score}
    if name == "centerface" or (name == "auto" and not yunet_model):
        return CenterFaceDetector(side=side, **score)
    if name == "dlib":
        return DlibDetector(side=side, **score)
    model = fetch_yunet() if yunet_model in (None, "fetch") else yunet_model
    assert model is not None
    return YuNetDetector(model, side=side, **score)


def fetch_yunet(url: str = YUNET_URL, sha256: str = YUNET_SHA256, folder: Path | None = None) -> Path:
    """YuNet's model file, downloaded once and checked.

    Args:
        folder: where it is kept; if not given, the user's cache (:func:`ldeq.pretrained.cache_folder`).

    Raises:
        InputError: where it cannot be downloaded, or what comes is another file.
    """
    folder = folder or cache_folder()
    path = folder / Path(url).name
    if path.is_file() and sha256_of(path) == sha256:
        return path
    check_address(url)
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            content = response.read(2**24)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = f"cannot be downloaded ({error}), expected a connection, or the file from elsewhere"
        raise InputError(f"{url}: {reason}") from None
    found = sha256_of_bytes(content)
    if found != sha256:
        raise InputError(f"{url}: has SHA-256 {found}, expected {sha256}: it is another file than it was")
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
    return path


#: dlib's detector keeps nothing of an image, and is for one thread at a time.
_OF_THREAD = threading.local()


def _frontal_face_detector() -> Any:
    """This thread's detector of dlib."""
    if not hasattr(_OF_THREAD, "detector"):
        _OF_THREAD.detector = _from_cache(_import_dlib())
    return _OF_THREAD.detector


def _import_dlib() -> Any:
    try:
        import dlib
    except ImportError:
        expected = "expected pip install dlib-bin, the detector YuNet, or bounding boxes"
        raise InputError(f"dlib is not installed, {expected}") from None
    return dlib


def _from_cache(dlib: Any) -> Any:
    """dlib's detector, which takes half a second to be unpacked from the library, and none from a file of its own."""
    path = cache_folder() / f"dlib-{dlib.__version__}-frontal-faces.svm"
    if path.is_file():
        with suppress(RuntimeError):  # a damaged file, which is written anew
            return dlib.fhog_object_detector(str(path))
    detector = dlib.get_frontal_face_detector()
    with suppress(InputError, RuntimeError), written_whole(path) as temporary:  # a cache that cannot be written to
        detector.save(str(temporary))
    return detector


def _scaled(image: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], float]:
    """The image with ``side`` as its longer side, and what its coordinates were multiplied by.

    Small images grow at most twofold: beyond, there is nothing more to be seen in them.
    """
    height, width = image.shape[:2]
    scale = min(side / max(height, width), 2.0)
    size = (max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=how)), scale
