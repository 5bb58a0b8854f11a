"""Reading videos frame by frame with OpenCV."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError
from ldeq.video.media import for_ffmpeg

# What FFmpeg and OpenCV have to say of damaged files would stand between our own sentences on stderr.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

#: Frames per second where a file does not tell.
DEFAULT_FPS = 25.0
#: So many failures to decode one after another are taken for the end of a file that is read on behind damage.
MOST_FAILURES = 64


class VideoReader:
    """Iterates over the frames of a video file as (H, W, 3) uint8 RGB, one in memory at a time.

    OpenCV decodes, as in the published system: other libraries' conversion from YUV differs by grey levels.

    Raises:
        InputError: where the file is missing or cannot be opened as a video.
        OSError: where it may not be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file, expected a video")
        with self.path.open("rb"):  # what the system does not let us read is no damaged video
            pass
        self._capture = cv2.VideoCapture(for_ffmpeg(self.path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise InputError(f"{self.path}: cannot be decoded, expected a video")

    @property
    def fps(self) -> float:
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        return float(fps) if 0 < fps < 1000 else DEFAULT_FPS

    @property
    def n_frames_declared(self) -> int:
        """Number of frames that the file says it has; those that can be decoded may be fewer."""
        return int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        while True:
            there, frame = self._capture.read()
            if not there:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # type: ignore[misc]

    def timed(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """The frames with their times in seconds from the video's beginning, each later than the one before.

        Goes on behind damage in the middle. A frame that has no time of its own in the file follows at the nominal
        frame rate.
        """
        before = -1 / self.fps
        n_failures = 0
        while n_failures < MOST_FAILURES:
            there, frame = self._capture.read()
            if not there:
                n_failures += 1
                continue
            n_failures = 0
            time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not before < time < math.inf:
                time = before + 1 / self.fps
            yield time, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # type: ignore[misc]
            before = time

    def close(self) -> None:
        self._capture.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
