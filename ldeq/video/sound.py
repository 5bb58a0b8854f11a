"""Sound for an MP4 that is being written, taken from another media file in step with the images."""

import math
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from ldeq.video.media import beginning_of, choose_streams, open_media
from ldeq.video.timeline import BACKWARDS, Timeline

#: Codecs that an MP4 takes as they are and players expect in one; others become AAC.
COPIED_CODECS = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})
#: MP4 takes MP3 from this sampling rate on, in Hz: below are MPEG 2.5's.
LOWEST_MP3_RATE = 16000
#: Seconds between two packets at least, which no rounding to an MP4's ticks makes none.
LEAST_STEP = Fraction(1, 1000)
#: Sampling rates of AAC, in Hz.
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class Sound:
    """The first audio stream of a media file that can be decoded, on its way into a container.

    Packets are copied without being decoded, or decoded and encoded as AAC where an MP4 does not take their codec.
    Nothing but the packets at hand is in memory. Make one with :meth:`open`, before the container's first packet.
    """

    def __init__(self, source: Any, video: Any, stream: Any, container: Any) -> None:
        self._source = source
        self._container = container
        # The decoder's name, which may be that of a variant or of a library ("mp3float", "libopus").
        self.codec: str = stream.codec_context.name.removeprefix("lib").removesuffix("float")
        #: False where the codec had to be changed.
        self.copied = self.codec in COPIED_CODECS and not (
            self.codec == "mp3" and stream.codec_context.sample_rate < LOWEST_MP3_RATE
        )
        #: The reason why the sound ends before the frames do, where the file is damaged.
        self.failure: str | None = None
        if self.copied:
            self._target = container.add_stream_from_template(stream)
        else:
            rate = stream.codec_context.sample_rate
            self._target = container.add_stream("aac", rate=rate if rate in AAC_RATES else 48000)
            self._target.layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
        self._packets = self._read(source, video, stream)
        self._waiting: Any = None
        #: Decoding time of the last packet that was written, in its ticks.
        self._last: int | None = None

    @classmethod
    def open(cls, path: str | Path, container: Any) -> Self | None:
        """The sound of ``path`` for an open PyAV container, or None where it has none (or none that can be read)."""
        import av

        try:
            source = open_media(path)
        except (av.FFmpegError, OSError):
            return None
        video, stream = choose_streams(source)
        if stream is None or video is None or not _is_known(stream.codec_context):
            source.close()
            return None
        try:
            return cls(source, video, stream, container)
        except (av.FFmpegError, ValueError):  # what FFmpeg knows of and cannot set up
            source.close()
            return None

    def write_until(self, time: float) -> None:
        """Writes what begins before ``time``, in seconds from the first image.

        Raises:
            OSError: where the container cannot be written.
        """
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
                if self._waiting is None:
                    return
            if float(self._waiting.pts * self._waiting.time_base) > time:
                return
            try:
                self._write(self._waiting)
            except ValueError as error:  # what FFmpeg says of data that make no sense; a full disk is an OSError
                self.failure = _damaged(error)
                self._packets.close()
            self._waiting = None

    def finish(self) -> None:
        """Writes what an encoder still holds, and closes the source. The container stays open.

        Raises:
            OSError: where the container cannot be written.
        """
        if not self.copied and self.failure is None:
            self._mux(*self._target.encode(None))
        self.close()

    def close(self) -> None:
        self._packets.close()
        self._source.close()

    def _read(self, source: Any, video: Any, stream: Any) -> Generator[Any, None, None]:
        """Packets or decoded frames, with times counted from the video's first image."""
        import av

        beginning, end = beginning_of(video), -math.inf
        try:
            for packet, item in self._demuxed(source, video, stream):
                time = float(item.pts * item.time_base)
                if time < end - BACKWARDS:  # of segments that overlap the first one is heard
                    continue
                seconds = packet.duration * packet.time_base if self.copied else item.samples / item.sample_rate
                end = max(end, time + float(seconds or 0))
                shift = round(beginning / item.time_base)
                item.pts -= shift
                if self.copied and item.dts is not None:
                    item.dts -= shift
                yield item
        except (av.FFmpegError, OSError) as error:
            self.failure = _damaged(error)

    def _demuxed(self, source: Any, video: Any, stream: Any) -> Iterator[tuple[Any, Any]]:
        """Each packet with itself or a frame of it, of those that have a time."""
        timeline = Timeline(source, [video, stream])
        for packet in source.demux(video, stream):
            if packet.size:
                timeline.mend(packet)
            if packet.stream is not stream:
                continue
            for item in [packet] if self.copied else packet.decode():
                if item.pts is not None and item.time_base and (packet.size or not self.copied):
                    yield packet, item

    def _write(self, item: Any) -> None:
        if self.copied:
            item.stream = self._target
            self._mux(item)
        else:
            self._mux(*self._target.encode(item))

    def _mux(self, *packets: Any) -> None:
        for packet in packets:
            # An MP4's times grow, and those of files as they are may repeat.
            if packet.dts is not None:
                step = max(1, round(LEAST_STEP / packet.time_base))
                packet.dts = packet.dts if self._last is None else max(packet.dts, self._last + step)
                packet.pts, self._last = max(packet.pts, packet.dts), packet.dts
            self._container.mux(packet)


def has_sound(path: str | Path) -> bool:
    """True where a media file says that it has sound, be it damaged."""
    import av

    try:
        with open_media(path) as source:
            return len(source.streams.audio) > 0
    except (av.FFmpegError, OSError):
        return False


def _is_known(codec: Any) -> bool:
    """True where the headers tell of samples; a damaged stream has no rate or no channels."""
    return bool(codec.sample_rate > 0 and codec.layout.nb_channels > 0)


def _damaged(error: Exception) -> str:
    return f"the sound is damaged ({getattr(error, 'strerror', None) or error})"
