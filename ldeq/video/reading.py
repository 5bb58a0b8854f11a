"""Reading videos frame by frame."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError
from ldeq.files import refuse_address
from ldeq.video.conversion import RgbConverter
from ldeq.video.media import beginning_of, choose_streams, open_media, seconds_declared, video_streams
from ldeq.video.orientation import orientation_of, upright
from ldeq.video.timeline import Timeline, is_broadcast

#: Broadcast's packets have a running number, which breaks so many seconds or less before the clock is set anew.
_SEAM = 0.5
#: Frames per second where a file does not tell.
DEFAULT_FPS = 25.0


class VideoReader:
    """Iterates once over the frames of a video file as (H, W, 3) uint8 RGB, upright, one in memory at a time.

    FFmpeg decodes, by way of PyAV, and goes on behind damage, of which :meth:`damage` tells. The pixels are the
    published system's (:class:`ldeq.video.conversion.RgbConverter`).

    Raises:
        InputError: where the file is missing or cannot be opened as a video.
        OSError: where it may not be read.
    """

    def __init__(self, path: str | Path) -> None:
        refuse_address(path)
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file, expected a video")
        with self.path.open("rb"):  # what the system does not let us read is no damaged video
            pass
        try:
            self._container = open_media(self.path)
        except av.FFmpegError:
            raise InputError(f"{self.path}: cannot be decoded, expected a video") from None
        self._stream, sound = choose_streams(self._container)
        if self._stream is None:
            self.close()
            raise InputError(f"{self.path}: has no images that can be decoded, expected a video")
        if self._stream.codec_context is None:
            self.close()
            raise InputError(f"{self.path}: is in a format that FFmpeg cannot decode, expected another video")
        self._stream.thread_type = "AUTO"
        fps = float(self._stream.guessed_rate or 0)
        self.fps = fps if 0 < fps < 1000 else DEFAULT_FPS
        seconds = seconds_declared(self._container, self._stream, [] if sound is None else [sound])
        #: Number of frames that the file says it has; those that can be decoded may be fewer.
        self.n_frames_declared = int(self._stream.frames or math.floor(seconds * self.fps + 0.5))
        #: Of broadcast's formats FFmpeg guesses the length by their clocks, which may be set anew.
        self._seconds_declared = 0.0 if is_broadcast(self._container) else seconds
        self._streams = [stream for stream in (self._stream, sound) if stream is not None]
        self._convert = RgbConverter()
        self._transposed = False
        self._beginning = beginning_of(self._stream)
        self._n_frames = 0
        #: Recordings may begin anywhere: what comes before the first key frame cannot be decoded, and is no damage.
        self._has_begun = False
        #: When the last packet ends, of the video and of all streams, in seconds from the video's beginning.
        self._end = self._end_of_all = 0.0
        #: Frames that are not as they were recorded, and packets that could not be decoded, with the first's time.
        self._n_corrupt = self._n_failed = 0
        self._first_damage: float | None = None
        #: The time of a packet before which others seem to be missing, until it is known whether there is a seam.
        self._suspected: float | None = None

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel divided by its height, in the upright image; known from the first frame on."""
        aspect = self._stream.sample_aspect_ratio or self._stream.codec_context.sample_aspect_ratio
        if not aspect or aspect <= 0:
            return Fraction(1)
        return Fraction(1) / aspect if self._transposed else Fraction(aspect)

    @property
    def remarks(self) -> list[str]:
        """Choices that were made, each a sentence's end: of several streams, of colours without a conversion."""
        remarks = []
        n_streams = len(self._container.streams.video)
        if len(video_streams(self._container)) > 1:
            number = self._container.streams.video.index(self._stream) + 1
            width, height = self._stream.codec_context.width, self._stream.codec_context.height
            remarks.append(f"of its {n_streams} video streams number {number} ({width}x{height}) is taken")
        if self._convert.remark is not None:
            remarks.append(self._convert.remark)
        return remarks

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for _, image in self.timed():
            yield image

    def timed(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """The frames with their times in seconds from the video's beginning, each later than the one before.

        A frame that has no time of its own in the file follows at the nominal frame rate, and frames whose times
        overlap with those before, as where segments were joined, follow faster until they are in step again.
        """
        before, own = -1 / self.fps, -math.inf
        for frame in self._decoded():
            ticks, base = frame.pts if frame.pts is not None else frame.dts, frame.time_base
            time = math.nan if ticks is None or not base else float(ticks * base) - self._beginning
            overlaps = own < time <= before
            own = time
            if not before < time < math.inf:
                time = before + (0.1 if overlaps else 1) / self.fps
            try:
                image = self._convert(frame)
            except (OSError, ValueError):  # of a size or format that cannot be, as damaged files have them
                self._note_failure(self._end)
                continue
            if frame.is_corrupt:
                self._n_corrupt += 1
                self._note_damage(time)
            orientation = orientation_of(frame)
            self._transposed = orientation[0]
            self._n_frames += 1
            yield time, upright(image, orientation)
            before = time

    def _decoded(self) -> Iterator[av.VideoFrame]:
        timeline = Timeline(self._container, self._streams)
        packets = self._container.demux(self._streams)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):  # what follows cannot be read
                self._note_failure(self._end)
                return
            if packet is None:
                self._note_failure(self._suspected)
                return
            if packet.size:  # the last one of each stream has none: it asks for the decoder's last frames
                self._count(packet, timeline.mend(packet))
            if packet.stream is not self._stream:
                continue
            self._has_begun = self._has_begun or bool(packet.is_keyframe)
            try:
                frames = packet.decode()
            except av.EOFError:
                continue
            except (av.FFmpegError, OSError):
                self._note_failure(self._end)
                continue
            yield from frames

    def _count(self, packet: Any, is_seam: bool) -> None:
        is_image = packet.stream is self._stream
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base) - self._beginning
            self._end_of_all = max(self._end_of_all, end)
            self._end = max(self._end, end) if is_image else self._end
        if is_image and is_seam:
            self._suspected = None
        elif self._suspected is not None and self._end - self._suspected > _SEAM:
            self._note_failure(self._suspected)
            self._suspected = None
        if is_image and packet.is_corrupt and not is_seam and self._suspected is None:
            self._suspected = self._end

    def _note_failure(self, time: float | None) -> None:
        if time is not None and self._has_begun:
            self._n_failed += 1
            self._note_damage(time)

    def _note_damage(self, time: float) -> None:
        if self._first_damage is None:
            self._first_damage = time

    def damage(self) -> str | None:
        """The damage that was met so far, as the end of a sentence; None where there was none."""
        if self._first_damage is None:
            return None
        lost = self._stream.frames - self._n_frames if self._n_failed else 0
        what = f"{self._n_corrupt} of its frames are not as they were recorded"
        if lost > 0:
            what = f"{self._n_frames} of its {self._stream.frames} frames could be decoded"
        elif not self._n_corrupt:
            what = "parts of it could not be decoded"
        return f"is damaged: {what} (from {self._first_damage:.1f} s on)"

    def what_is_missing(self) -> str | None:
        """The same after the last frame, where frames may also be missing at the file's end."""
        n_said = self._stream.frames
        declared = self._seconds_declared
        lacking = declared - (self._end if self._stream.duration else self._end_of_all)
        if lacking > max(0.5, 0.03 * declared):
            if n_said > self._n_frames:
                return f"is damaged or not whole: {self._n_frames} of its {n_said} frames could be decoded"
            return f"is not whole: it ends after {declared - lacking:.1f} of its {declared:.1f} seconds"
        return self.damage()

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
