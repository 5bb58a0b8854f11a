"""Cutting a range of frames out of a video, exact to the frame."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ldeq.video.media import choose_streams, for_ffmpeg, open_media
from ldeq.video.reading import DEFAULT_FPS
from utils.download.failure import Failure, Kind, is_web_page

#: x264's constant rate factor of the clips: low, since its losses differ from frame to frame and would show as jitter.
#: Lossless H.264 (another profile, which few players open) would be far larger, and decoders differ by more than it
#: gains.
CRF = 12


def cut(source: Path, target: Path, first: int, last: int, *, size: tuple[int, int] | None, step: int) -> None:
    """Writes frames ``first`` to ``last``, both included, as an H.264 MP4 (yuv420p, index first, no sound).

    Frames are counted from 0 in the order in which they are shown, over the whole decoded stream: no seeking, which
    would lean on an index that may be wrong, and no time stamps, which in files of variable frame rate do not count
    frames. Time stamps are kept, from 0 on. Pixels stay YUV all the way; where neither size nor pixel format changes,
    the encoder is all that touches them.

    Args:
        source: a video in any format that FFmpeg decodes.
        target: path of the MP4.
        first, last: numbers of frames, from 0.
        size: width and height in pixels that frames are scaled to; None keeps theirs.
        step: count every ``step``-th frame only.

    Raises:
        Failure: where the source cannot be decoded up to ``last``, or is too short.
        OSError: where the target cannot be written.
    """
    with av.open(for_ffmpeg(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        encoder = _Encoder(container, size)
        for frame, rate in _frames(source, first, last, step):
            encoder.write(frame, rate)
        encoder.close()


def _frames(source: Path, first: int, last: int, step: int) -> Iterator[tuple[av.VideoFrame, Fraction]]:
    n_counted, declared = 0, 0
    try:
        with open_media(source) as container:
            stream, _ = choose_streams(container)
            if stream is None or stream.codec_context is None:
                raise Failure(Kind.UNDECODABLE, f"{_describe(source)} has no images that can be decoded")
            stream.thread_type = "AUTO"
            declared = stream.frames
            rate = stream.average_rate or Fraction(DEFAULT_FPS)
            for index, frame in enumerate(container.decode(stream)):
                number, skipped = divmod(index, step)
                n_counted = number + 1
                if frame.is_corrupt:
                    raise Failure(Kind.UNDECODABLE, f"{_describe(source)}: frame {index} is damaged")
                if number >= first and not skipped:
                    yield frame, rate
                    if number == last:
                        return
    except av.FFmpegError as error:
        if not isinstance(error, EOFError):
            raise Failure(
                Kind.UNDECODABLE, f"{_describe(source)}: frame {n_counted * step} cannot be decoded"
            ) from error
    message = f"{_describe(source)} has {n_counted} frames, expected at least {last + 1}"
    if declared > last * step:
        raise Failure(Kind.UNDECODABLE, f"{message} (it says that it has {declared})")
    raise Failure(Kind.LENGTH, message)


def _describe(source: Path) -> str:
    """A source as the subject of a message."""
    if not source.stat().st_size:
        return "an empty file"
    return "a web page in place of the video" if is_web_page(source) else "the video"


class _Encoder:
    """Encodes frames as H.264 into a container; the stream is opened by the first of them."""

    def __init__(self, container: av.container.OutputContainer, size: tuple[int, int] | None) -> None:
        self._container = container
        self._size = size
        self._stream: av.VideoStream | None = None
        self._last_time = -1

    def write(self, frame: av.VideoFrame, rate: Fraction) -> None:
        if self._stream is None:
            # A stream may change its size midway; a clip has one.
            self._size = self._size or (frame.width, frame.height)
            self._stream = self._open(frame, rate)
        time = self._time(frame, rate)
        image = _as_yuv420p(frame, self._size or (frame.width, frame.height))
        image.pts, image.time_base, image.pict_type = time, self._stream.codec_context.time_base, 0
        self._container.mux(self._stream.encode(image))

    def _open(self, frame: av.VideoFrame, rate: Fraction) -> av.VideoStream:
        assert self._size is not None
        width, height = self._size
        stream = self._container.add_stream("libx264", rate=rate)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(CRF), "preset": "medium"}
        stream.codec_context.time_base = frame.time_base or 1 / rate
        self._start = frame.pts
        return stream

    def _time(self, frame: av.VideoFrame, rate: Fraction) -> int:
        """The frame's time stamp, which must grow: files with stamps that are missing or repeat are not rare."""
        assert self._stream is not None
        time = self._last_time + 1
        if frame.pts is not None and self._start is not None:
            time = max(time, frame.pts - self._start)
        elif self._last_time >= 0:
            base = self._stream.codec_context.time_base or 1 / rate
            time = self._last_time + max(1, round(1 / (rate * base)))
        self._last_time = time
        return time

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))


def _as_yuv420p(frame: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
    width, height = size
    if (frame.width, frame.height) != size:
        shrinks = width * height < frame.width * frame.height
        frame = frame.reformat(width, height, "yuv420p", interpolation="AREA" if shrinks else "BICUBIC")
    if width % 2 or height % 2:  # which yuv420p cannot have: one more row or column
        pixels = np.pad(frame.to_ndarray(format="rgb24"), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
