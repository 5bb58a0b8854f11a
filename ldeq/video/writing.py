"""Writing H.264 videos with PyAV."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError
from ldeq.files import WholeFile, cannot_be_written
from ldeq.video.media import for_ffmpeg
from ldeq.video.sound import Sound

#: Side in pixels of the largest frames that x264 takes.
LARGEST_SIDE = 16384


class VideoWriter:
    """Writes RGB frames to an H.264 MP4 that browsers play (yuv420p, index first).

    The file appears under its name at :meth:`close`; :meth:`discard` leaves nothing. A frame with an odd side gets one
    more row or column, since yuv420p has none.

    Args:
        fps: frames per second; where frames come with their times, roughly so many.
        crf: x264's constant rate factor; lower is better and larger.
        preset: x264's, from ``ultrafast`` to ``placebo``: how long it looks for ways to make the file smaller.
        timed: each frame comes with its time, and the file keeps them (variable frame rate).
        sound_of: with ``timed``, a media file whose first audio stream is taken over
            (:class:`ldeq.video.sound.Sound`).
        pixel_aspect: width of a pixel divided by its height.
    """

    #: Ticks a second of timed frames, MPEG's: every usual frame rate has whole numbers of them.
    TICKS = 90_000

    def __init__(
        self,
        path: str | Path,
        fps: float,
        crf: int = 20,
        *,
        preset: str = "veryfast",
        timed: bool = False,
        sound_of: str | Path | None = None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        import av

        try:
            self._whole = WholeFile(path)
            target = for_ffmpeg(self._whole.temporary)
            self._container = av.open(target, "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise cannot_be_written(path, error) from None
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": str(crf), "preset": preset}
        self._timed = timed
        if timed:
            self._stream.codec_context.time_base = Fraction(1, self.TICKS)
        if pixel_aspect != 1:
            self._stream.codec_context.sample_aspect_ratio = pixel_aspect
        self._size: tuple[int, int] | None = None
        self._last_tick = -1
        #: The audio that is taken over; None where there is none to take.
        self.sound = Sound.open(sound_of, self._container) if timed and sound_of is not None else None

    def write(self, frame: NDArray[np.uint8], time: float | None = None) -> None:
        """Appends a frame (H, W, 3) uint8 RGB; all have the first one's size.

        Args:
            time: of a timed writer, the frame's time in seconds, later than the one before.

        Raises:
            ValueError: where the size changes, or a timed writer gets no time.
            InputError: where the disk is full, as from the other methods.
        """
        height, width = frame.shape[:2]
        if self._size is None:
            if max(height, width) > LARGEST_SIDE:
                self.discard()
                raise InputError(
                    f"{self._whole.path}: its frames would be {width}x{height}, expected at most {LARGEST_SIDE} pixels "
                    "a side, as H.264 has them"
                )
            self._size = (height, width)
            self._stream.height, self._stream.width = height + height % 2, width + width % 2
        elif self._size != (height, width):
            raise ValueError(f"a frame of {width}x{height}, expected {self._size[1]}x{self._size[0]} as before")
        image = _to_yuv420p(frame)
        if self._timed:
            if time is None:
                raise ValueError("a frame without a time, expected one from a writer of timed frames")
            image.pts = max(self._last_tick + 1, round(time * self.TICKS))
            image.time_base = Fraction(1, self.TICKS)
            self._last_tick = image.pts
        with self._unwritten_on_error():
            self._container.mux(self._stream.encode(image))
            if self.sound is not None and time is not None:
                self.sound.write_until(time)

    def close(self, sound_until: float = math.inf) -> None:
        """Finishes the file and gives it its name.

        Args:
            sound_until: seconds; the sound ends here at the latest.
        """
        whole = self.finish(sound_until)
        if whole is not None:
            with self._unwritten_on_error():
                whole.commit()

    def finish(self, sound_until: float = math.inf) -> WholeFile | None:
        """Finishes the file, whose name is left to the caller to give; None where there is no frame, and no file."""
        if self._size is None:
            self.discard()
            return None
        with self._unwritten_on_error():
            self._container.mux(self._stream.encode(None))
            if self.sound is not None:
                self.sound.write_until(sound_until)
                self.sound.finish()
            self._container.close()
        return self._whole

    def discard(self) -> None:
        """Drops what was written."""
        with suppress(OSError):  # a full disk, which is why it is dropped
            if self.sound is not None:
                self.sound.close()
            self._container.close()
        self._whole.discard()

    @contextmanager
    def _unwritten_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            raise cannot_be_written(self._whole.path, error) from None
        except BaseException:
            self.discard()
            raise


def _to_yuv420p(frame: NDArray[np.uint8]) -> Any:
    """A frame (H, W, 3) RGB in the encoder's colours, with even sides.

    OpenCV takes a tenth of FFmpeg's time for it.
    """
    import av

    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        height, width = frame.shape[:2]
    yuv = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8).ravel()
    image = av.VideoFrame(width, height, "yuv420p")
    for plane in image.planes:
        values, yuv = np.split(yuv, [plane.width * plane.height])
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)  # which may be longer
        rows[: plane.height, : plane.width] = values.reshape(plane.height, plane.width)
    return image
