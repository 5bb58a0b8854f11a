"""Truth and prediction on the frames of the videos being tracked: as MP4s, in a live window, or both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.display import Window
from utils.drawing import annotate
from utils.evaluation import TrackedVideo
from utils.metrics import frame_nme
from utils.video import VideoWriter


class AnnotatedVideos:
    """Draws every frame as it is done.

    Args:
        path_of: where the MP4 of a video goes, by its id; each appears when its video is done.
        write: whether MP4s are written.
        window: where one of the videos in the batch is shown, if anywhere.
    """

    def __init__(self, path_of: Callable[[str], Path], write: bool, window: Window | None) -> None:
        self._path_of = path_of
        self._write = write
        self._window = window
        self._shown: TrackedVideo[Any] | None = None
        self._truth: dict[TrackedVideo[Any], NDArray[np.float64]] = {}
        self._writers: dict[TrackedVideo[Any], VideoWriter] = {}

    @property
    def wanted(self) -> bool:
        """Whether whole frames are needed at all."""
        return self._write or self._window is not None

    def add(self, video: TrackedVideo[Any], frame: Any, landmarks: NDArray[np.float64]) -> None:
        """Takes the newest frame of a video and its landmarks (98, 2) in frame pixels.

        Raises:
            KeyboardInterrupt: where the user closed the window.
        """
        if not self.wanted:
            return
        if video not in self._truth:
            self._truth[video] = video.clip.landmarks
        index = len(video.landmarks) - 1
        truth = self._truth[video][index]
        error = frame_nme(landmarks[None], truth[None])[0]
        picture = annotate(frame.frame, landmarks, truth, f"{video.clip.id}  {index}  NME {error:.2f} %")
        if self._write:
            if video not in self._writers:
                self._writers[video] = VideoWriter(self._path_of(video.clip.id), video.clip.read_fps())
            self._writers[video].write(picture)
        if self._window is not None:
            self._shown = self._shown or video
            if video is self._shown and not self._window.show(picture):
                raise KeyboardInterrupt

    def end(self, video: TrackedVideo[Any]) -> None:
        """The video is done; one that failed leaves no MP4."""
        self._truth.pop(video, None)
        writer = self._writers.pop(video, None)
        if writer is not None and video.failure is None:
            writer.close()
        elif writer is not None:
            writer.discard()
        if video is self._shown:
            self._shown = None

    def close(self) -> None:
        """Drops what is unfinished, and closes the window."""
        for writer in self._writers.values():
            writer.discard()
        self._writers.clear()
        if self._window is not None:
            self._window.close()
