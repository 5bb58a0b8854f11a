"""Detectors that look at a frame before anybody asks what is in it."""

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ldeq.face.detectors import CenterFaceDetector, ClosenessDetector, Detector, DlibDetector, YuNetDetector


@dataclass(frozen=True)
class _Look:
    """A look at a frame that has begun."""

    image: NDArray[np.uint8]
    #: It has a state of its own: one that nobody asks for leaves no trace.
    detector: Detector
    boxes: Future[NDArray[np.float64]]


class DetectorAhead:
    """A detector in a thread of its own, which can begin with a frame while the frames before it are worked on.

    What it finds is what the detector finds in the frames for which :meth:`detect` is called.

    Args:
        detector: one whose shallow copies have a state of their own.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._executor = ThreadPoolExecutor(1, "detect")
        self._look: _Look | None = None

    @property
    def closely(self) -> bool:
        """See :class:`ldeq.face.detectors.ClosenessDetector`; without effect on detectors that look in one way only."""
        return _looks_closely(self._detector)

    @closely.setter
    def closely(self, closely: bool) -> None:
        if isinstance(self._detector, ClosenessDetector):
            self._detector.closely = closely

    def begin(self, image: NDArray[np.uint8]) -> None:
        """Begins to look at a frame (H, W, 3) RGB, which nobody may write into before it is asked for or another is."""
        if self._has_begun(image):
            return
        detector = copy.copy(self._detector)
        self._look = _Look(image, detector, self._executor.submit(detector.detect, image))

    def detect(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See :class:`ldeq.face.detectors.Detector`."""
        look, self._look = self._look if self._has_begun(image) else None, None
        if look is not None:
            boxes = look.boxes.result()
            self._detector = look.detector
            return boxes
        return self._executor.submit(self._detector.detect, image).result()

    def _has_begun(self, image: NDArray[np.uint8]) -> bool:
        look = self._look
        return look is not None and look.image is image and _looks_closely(look.detector) == self.closely


def _looks_closely(detector: Detector) -> bool:
    return not isinstance(detector, ClosenessDetector) or detector.closely


def ahead(detector: Detector) -> Detector:
    """A detector of this package as :class:`DetectorAhead`; others are asked frame by frame, in the caller's thread."""
    return (
        DetectorAhead(detector) if isinstance(detector, (CenterFaceDetector, DlibDetector, YuNetDetector)) else detector
    )
