"""Where frames come from: a video file, a folder of pictures, or a camera. One frame is in memory at a time."""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq import InputError
from utils.media import for_ffmpeg, read_picture
from utils.video import DEFAULT_FPS, VideoReader

#: Names of pictures end so.
PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
#: Codecs with packets that hold no picture of their own.
_HIDDEN_FRAMES = frozenset({"vp8"})


@dataclass(frozen=True)
class SourceFrame:
    """A frame and when it is seen."""

    #: Counted from 0.
    index: int
    #: Seconds from the first frame.
    time: float
    #: (H, W, 3) uint8 RGB, upright.
    picture: NDArray[np.uint8]


class FrameSource(ABC):
    """What the three sources have in common. They are context managers, and are iterated over once."""

    name: str
    #: Nominal frames per second.
    fps: float
    #: How many frames there should be, where that is known.
    n_frames: int | None = None
    #: A media file that may have sound.
    sound: Path | None = None
    #: Width of a pixel divided by its height.
    pixel_aspect = Fraction(1)

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]: ...

    @abstractmethod
    def check(self) -> str | None:
        """After the last frame: a sentence where there should have been more of them."""

    def close(self) -> None:  # noqa: B027  (not every source has something to close)
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VideoFile(FrameSource):
    """The frames of a video file, turned upright as its metadata say, with the file's own times.

    Raises:
        InputError: where the file is missing or cannot be opened as a video; from iterating, where it has no frame.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self.sound = Path(path)
        self._reader = VideoReader(path)
        self.fps = self._reader.fps
        self.n_frames = max(self._reader.n_frames_declared, 0) or None
        self.pixel_aspect = _pixel_aspect(path)
        self._n_decoded = 0

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, (seconds, picture) in enumerate(self._reader.timed()):
            self._n_decoded = index + 1
            yield SourceFrame(index, seconds, picture)
        if self._n_decoded == 0:
            raise InputError(f"{self.name}: no frame of it can be decoded, expected a video")

    def check(self) -> str | None:
        """See :class:`FrameSource`."""
        if self.n_frames is not None and self._n_decoded >= self.n_frames:
            return None
        return _what_is_missing(self.name, self._n_decoded)

    def close(self) -> None:
        self._reader.close()


class PictureFolder(FrameSource):
    """The pictures of a folder in the natural order of their names (2 before 10), as the frames of a video.

    Pictures that cannot be read are left out.

    Raises:
        InputError: where the folder has no picture; from iterating, where none can be read.
    """

    def __init__(self, folder: str | Path, fps: float = DEFAULT_FPS) -> None:
        self.name = str(folder)
        self.fps = fps
        paths = [path for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
        self._paths = sorted((path for path in paths if path.name[0] != "."), key=lambda path: natural_key(path.name))
        if not self._paths:
            raise InputError(f"{folder}: has no picture ({', '.join(sorted(PICTURE_SUFFIXES))}), expected some")
        self.n_frames = len(self._paths)
        self._unreadable: list[str] = []

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, path in enumerate(self._paths):
            try:
                picture = read_picture(path)
            except OSError:
                picture = None
            if picture is None:
                self._unreadable.append(path.name)
            else:
                yield SourceFrame(index, index / self.fps, picture)
        if len(self._unreadable) == len(self._paths):
            raise InputError(f"{self.name}: none of its {len(self._paths)} pictures can be read, expected pictures")

    def check(self) -> str | None:
        """See :class:`FrameSource`; pictures that were left out are named."""
        if not self._unreadable:
            return None
        return f"{self.name}: {', '.join(self._unreadable)} cannot be read as pictures and are left out."


class Camera(FrameSource):
    """A camera by its number. Times are those of the clock, and the frames have no end.

    Raises:
        InputError: where there is no such camera, or it gives no picture.
    """

    def __init__(self, number: int) -> None:
        self.name = f"camera {number}"
        self._capture = cv2.VideoCapture(number)
        # Old frames in a queue would make a live window lag.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if not self._capture.isOpened():
            raise InputError(f"{self.name}: cannot be opened, expected a camera that is free (--input 0 is the first)")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 0 < fps < 1000 else DEFAULT_FPS

    def __iter__(self) -> Iterator[SourceFrame]:
        beginning, index = None, 0
        while True:
            there, picture = self._capture.read()
            now = time.monotonic()
            if not there:
                break
            beginning = now if beginning is None else beginning
            yield SourceFrame(index, now - beginning, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))  # type: ignore[arg-type]
            index += 1
        if index == 0:
            raise InputError(f"{self.name}: gives no picture, expected a camera that works")

    def check(self) -> str | None:
        return f"{self.name}: stopped giving pictures."

    def close(self) -> None:
        self._capture.release()


def open_source(name: str | Path, fps: float = DEFAULT_FPS) -> FrameSource:
    """A camera where ``name`` is a number below 1000, a folder of pictures (at ``fps``), or a video file.

    Raises:
        InputError: where it cannot be opened.
    """
    if str(name).isdecimal() and len(str(name)) <= 3 and not Path(name).exists():
        return Camera(int(str(name)))
    return PictureFolder(name, fps) if Path(name).is_dir() else VideoFile(name)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts names as people do: numbers in them by value."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def _pixel_aspect(path: str | Path) -> Fraction:
    """Width of a pixel divided by its height, in the upright picture."""
    import av

    try:
        with av.open(for_ffmpeg(path)) as container:
            stream = container.streams.video[0]
            aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
            if not aspect or aspect == 1:
                return Fraction(1)
            turned = next((frame.rotation for frame in container.decode(stream)), 0) % 180 == 90
            return Fraction(1) / aspect if turned else Fraction(aspect)
    except (av.FFmpegError, OSError, IndexError):
        return Fraction(1)


def _what_is_missing(path: str, n_decoded: int) -> str | None:
    """Compares what was decoded with what the file holds and what it says of itself, without decoding it again."""
    import av

    try:
        with av.open(for_ffmpeg(path)) as container:
            stream = container.streams.video[0]
            n_said = stream.frames
            declared = container.duration / av.time_base if container.duration else 0.0
            beginning = (container.start_time or 0) / av.time_base
            n_shown = n_hidden = 0
            end = 0.0
            with suppress(av.FFmpegError, OSError):  # what follows cannot be read
                for packet in container.demux():
                    if packet.pts is not None and packet.time_base is not None:
                        end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - beginning)
                    if packet.stream is stream and packet.size:
                        n_hidden += packet.is_discard
                        n_shown += not packet.is_discard
    except (av.FFmpegError, OSError, IndexError):
        return None
    if n_said > n_shown + n_hidden:
        return f"{path}: is damaged or not whole: {n_decoded} of its {n_said} frames could be decoded."
    if n_shown > n_decoded and stream.codec_context.name not in _HIDDEN_FRAMES:
        return f"{path}: is damaged: {n_decoded} of its {n_shown} frames could be decoded."
    if declared - end > max(0.5, 0.03 * declared):
        return f"{path}: is not whole: it ends after {end:.1f} of its {declared:.1f} seconds."
    return None
