"""The annotated video of an input, or its annotated image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldeq.drawing import draw_faces, fitted, side_by_side
from ldeq.landmark_table import chosen_points
from ldeq.video.background import Background
from ldeq.video.media import write_image
from ldeq.video.sources import FrameSource
from ldeq.video.writing import VideoWriter

#: x264 takes half the time that it takes by the writer's own settings, at the same quality, for files half as large
#: again (benchmarks/README.md).
CRF, PRESET = 21, "superfast"


class AnnotatedOutput:
    """The annotated video of an input, or its annotated image.

    Frames are drawn and encoded in the background, while the network has the next one. What goes wrong there is raised
    by the method that is called next.

    Args:
        source: the input.
        folder: where ``video.mp4`` goes, or of an image ``image.png``.
        points: 98 or 68 landmarks are drawn.
        titles: of the two halves of a frame that is shown twice, with landmarks to compare on the right; None for one.
    """

    def __init__(self, source: FrameSource, folder: Path, points: int, titles: tuple[str, str] | None) -> None:
        self._points = points
        self._titles = titles
        self._image_path = folder / "image.png" if source.is_image else None
        self._image: NDArray[np.uint8] | None = None
        self._size: tuple[int, int] | None = None
        #: None where the input is an image.
        self.video: VideoWriter | None = None
        if self._image_path is None:
            self.video = VideoWriter(
                folder / "video.mp4",
                source.fps,
                CRF,
                preset=PRESET,
                timed=True,
                sound_of=source.sound,
                pixel_aspect=source.pixel_aspect,
            )
        self._background = Background("draw")

    def draw(
        self, frame: NDArray[np.uint8], faces: Mapping[int, Any], compared: Mapping[int, Any]
    ) -> NDArray[np.uint8]:
        """A frame with its faces, and beside it the same with what is compared."""

        def chosen(found: Mapping[int, Any]) -> dict[int, Any]:
            return {id: chosen_points(points[None], self._points)[0] for id, points in found.items()}

        if self._titles is not None:
            return side_by_side(frame, chosen(faces), chosen(compared), self._titles)
        return draw_faces(frame, chosen(faces))

    def add(self, frame: NDArray[np.uint8], time: float, faces: Mapping[int, Any], compared: Mapping[int, Any]) -> None:
        """Appends a frame, drawn as by :meth:`draw`; nobody may write into it after this."""
        self._background.run(lambda: self._write(self.draw(frame, faces, compared), time))

    def add_drawn(self, image: NDArray[np.uint8], time: float) -> None:
        """Appends an image of :meth:`draw`; all have the first one's size in the end."""
        self._background.run(lambda: self._write(image, time))

    def finish(self) -> None:
        """Returns once all frames so far are written.

        Raises:
            InputError: where they cannot be.
        """
        self._background.finish()

    def close(self, sound_until: float) -> None:
        """Gives the video its name, or writes the image."""
        self.finish()
        if self._image is not None:
            assert self._image_path is not None
            write_image(self._image_path, self._image)
        if self.video is not None:
            self.video.close(sound_until)

    def discard(self) -> None:
        """Drops what is not finished."""
        self._background.close()
        if self.video is not None:
            self.video.discard()

    def _write(self, image: NDArray[np.uint8], time: float) -> None:
        if self.video is None:
            self._image = image
            return
        self._size = self._size or (image.shape[1], image.shape[0])
        self.video.write(fitted(image, self._size), time)
