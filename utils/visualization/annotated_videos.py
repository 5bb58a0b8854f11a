"""Truth and prediction on the frames of the videos being evaluated: as MP4s, in a live window, or both."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ldeq.drawing import annotate
from ldeq.files import WholeFile
from ldeq.metrics import frame_nme
from ldeq.video.window import Window
from ldeq.video.writing import VideoWriter


class AnnotatedClip(Protocol):
    """A video with ground truth, as :class:`datasets.wflw_v.Clip` is."""

    @property
    def id(self) -> str: ...
    @property
    def landmarks(self) -> NDArray[np.float64]: ...
    def read_fps(self) -> float: ...


@dataclass
class _Drawn:
    """A video that is being drawn."""

    truth: NDArray[np.float64]
    writer: VideoWriter | None
    n_frames: int = field(default=0)


class AnnotatedVideos:
    """Draws every frame as it is done.

    Args:
        path_of: where the MP4 of a video goes, by its id.
        write: whether MP4s are written.
        window: where one of the videos in the batch is shown, if anywhere.
    """

    def __init__(self, path_of: Callable[[str], Path], write: bool, window: Window | None) -> None:
        self._path_of = path_of
        self._write = write
        self._window = window
        self._shown: str | None = None
        self._drawn: dict[str, _Drawn] = {}

    @property
    def wanted(self) -> bool:
        """Whether whole frames are needed at all."""
        return self._write or self._window is not None

    def add(self, clip: AnnotatedClip, frame: NDArray[np.uint8] | None, landmarks: NDArray[np.float64]) -> None:
        """Takes the newest frame (H, W, 3) of a video and its landmarks (98, 2) in frame pixels.

        Raises:
            KeyboardInterrupt: where the user closed the window.
        """
        if frame is None or not self.wanted:
            return
        if clip.id not in self._drawn:
            writer = VideoWriter(self._path_of(clip.id), clip.read_fps()) if self._write else None
            self._drawn[clip.id] = _Drawn(clip.landmarks, writer)
        drawn = self._drawn[clip.id]
        truth = drawn.truth[drawn.n_frames]
        error = frame_nme(landmarks[None], truth[None])[0]
        image = annotate(frame, landmarks, truth, f"{clip.id}  {drawn.n_frames}  NME {error:.2f} %")
        drawn.n_frames += 1
        if drawn.writer is not None:
            drawn.writer.write(image)
        if self._window is not None:
            self._shown = self._shown or clip.id
            if clip.id == self._shown and not self._window.show(image):
                raise KeyboardInterrupt

    def end(self, clip: AnnotatedClip, failed: bool) -> WholeFile | None:
        """The video is done; one that failed leaves no MP4.

        Returns:
            The MP4, if there is one, whose name is left to the caller to give.
        """
        if clip.id == self._shown:
            self._shown = None
        drawn = self._drawn.pop(clip.id, None)
        if drawn is None or drawn.writer is None:
            return None
        if failed:
            drawn.writer.discard()
            return None
        return drawn.writer.finish()

    def close(self) -> None:
        """Drops what is unfinished, and closes the window."""
        for drawn in self._drawn.values():
            if drawn.writer is not None:
                drawn.writer.discard()
        self._drawn.clear()
        if self._window is not None:
            self._window.close()
