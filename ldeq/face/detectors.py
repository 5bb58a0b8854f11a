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
from typing import Any, Protocol

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


class _LookingTwice(ABC):
    """A detector that looks at an image in which it finds nothing once more, for faces that are small, fill the image
    or are cut off by its edge: at a larger side and with a border.

    Since that takes longer, of empty images in a row only the first, second, fourth, eighth … are looked at so.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._n_empty = 0

    def detect(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See :class:`Detector`."""
        boxes = self._detect(image, self._side)
        self._n_empty = 0 if len(boxes) else self._n_empty + 1
        if self._n_empty & (self._n_empty - 1) or not self._n_empty:
            return boxes
        border = max(image.shape[:2]) // 4
        wide = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
        boxes = self._detect(np.asarray(wide, dtype=np.uint8), 2 * self._side) - border
        self._n_empty = 0 if len(boxes) else self._n_empty
        return np.asarray(boxes, dtype=np.float64)

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
        super().__init__(side)
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
        left, top, width, height = (np.asarray(faces[:, :4], dtype=np.float64) / scale).T
        return np.stack([left, top + self.FOREHEAD * height, left + width, top + height], axis=1)


#: CenterFace's outputs that a box is read from: how sure it is of a face's middle, the logarithm of the box's height
#: and width in cells, and the middle's place in its cell (y, x). The fifth, five landmarks, is not used.
CENTERFACE_OUTPUTS = ("537", "538", "539")


def centerface_model() -> Path:
    """CenterFace's ONNX file, which comes with the package (``assets/make_centerface.py``)."""
    return Path(__file__).resolve().parent.parent / "weights" / "centerface.onnx"


class CenterFaceDetector(_LookingTwice):
    """CenterFace (Xu et al. 2019), a convolutional network that comes with the package: finds faces that are turned,
    partly hidden and small, from about 25 pixels of the scaled image on.

    In every twelfth frame of the bundled clips it finds every face and nothing else, each with a score of 0.49 or more.

    Args:
        min_score: faces below it (in [0, 1]) are left out.
        side: larger images are scaled to this longer side; smaller ones stay as they are.
    """

    #: From its boxes to the landmarks': the part of the height that is cut off above, where its boxes have the
    #: forehead. The mean over the bundled clips, where it scatters by 0.03; the other edges are the same, and scatter
    #: by 0.03 to 0.04.
    FOREHEAD = 0.23
    #: Image pixels a cell of its outputs; images are scaled to multiples of the largest stride within the network.
    _CELL, _STRIDE = 4, 32
    #: Of two boxes that overlap by more (intersection over union) the surer one is a face.
    _MOST_OVERLAP = 0.3

    def __init__(self, min_score: float = 0.4, side: int = DEFAULT_SIDE) -> None:
        super().__init__(side)
        self._network = open_session(centerface_model())
        self._min_score = min_score

    def _detect(self, image: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
        scaled, _ = _scaled(image, min(side, max(image.shape[:2])))
        width, height = (self._STRIDE * max(1, round(n / self._STRIDE)) for n in (scaled.shape[1], scaled.shape[0]))
        scaled = np.asarray(cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        levels = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)
        (sure,), sizes, offsets = (part[0] for part in self._network.run(list(CENTERFACE_OUTPUTS), {"input.1": levels}))
        rows, columns = np.nonzero(sure > self._min_score)
        extent = self._CELL * np.exp(sizes[::-1, rows, columns].astype(np.float64)).T
        middle = self._CELL * (np.stack([columns, rows], axis=1) + 0.5 + offsets[::-1, rows, columns].T)
        corners = middle - extent / 2
        boxes = np.concatenate([corners, extent], axis=1)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), sure[rows, columns].tolist(), self._min_score, self._MOST_OVERLAP)
        left, top, width_of, height_of = boxes[np.asarray(kept, dtype=int).ravel()].T
        top, height_of = top + self.FOREHEAD * height_of, (1 - self.FOREHEAD) * height_of
        found = np.stack([left, top, left + width_of, top + height_of], axis=1)
        in_frame: NDArray[np.float64] = found * (np.array(image.shape[1::-1] * 2) / (width, height, width, height))
        return in_frame


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
