"""Where frames come from: a video file, an image, a folder of images, a camera, or arrays.

Of files and cameras one frame is in memory at a time.
"""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError
from ldeq.fields import listed
from ldeq.files import refuse_address
from ldeq.video.media import count_images, for_ffmpeg, is_heif, is_video, read_image
from ldeq.video.reading import DEFAULT_FPS, VideoReader

#: Names of images end so, of those also that cannot be decoded here; others are known by how they begin.
# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".apng", ".arw", ".avif", ".bmp", ".cr2", ".cr3", ".dds", ".dib", ".dng", ".exr", ".gif", ".hdr", ".heic",
    ".heif", ".hif", ".ico", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl", ".nef", ".orf", ".pbm", ".pcx", ".pgm",
    ".png", ".pnm", ".ppm", ".psd", ".raf", ".rw2", ".sgi", ".tga", ".tif", ".tiff", ".webp"
})
# fmt: on
#: Names of videos end so.
# fmt: off
_VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ogv", ".ts", ".vob", ".webm", ".wmv"
})
# fmt: on


@dataclass(frozen=True)
class Frame:
    """A frame and when it is seen."""

    #: Counted from 0.
    index: int
    #: Seconds from the first frame.
    time: float
    #: (H, W, 3) uint8 RGB, upright.
    image: NDArray[np.uint8]


class FrameSource(ABC):
    """The common part of all sources. They are context managers, and are iterated over once."""

    name: str
    #: Nominal frames per second.
    fps: float
    #: How many frames there should be, where that is known.
    n_frames: int | None = None
    #: A media file that may have sound.
    sound: Path | None = None
    #: Width of a pixel divided by its height.
    pixel_aspect = Fraction(1)
    #: True for one image, which is no video.
    is_image = False
    #: True where it can be opened again, and gives the same frames.
    is_repeatable = True

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    def check(self) -> list[str]:
        """After the last frame: sentences on frames that are damaged, missing or left out, and on choices."""
        return []

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

    def __iter__(self) -> Iterator[Frame]:
        index = -1
        for index, (seconds, image) in enumerate(self._reader.timed()):
            self.pixel_aspect = self._reader.pixel_aspect
            yield Frame(index, seconds, image)
        if index < 0:
            raise InputError(f"{self.name}: no frame of it can be decoded, expected a video")

    def check(self) -> list[str]:
        """See :class:`FrameSource`."""
        missing = self._reader.what_is_missing()
        found = [*self._reader.remarks, *([missing] if missing else [])]
        return [f"{self.name}: {what}." for what in found]

    def close(self) -> None:
        self._reader.close()


class ImageFolder(FrameSource):
    """The images of a folder in the natural order of their names (2 before 10), as the frames of a video.

    Images that cannot be read are left out, and leave a gap in time. What is no image is passed over.

    Raises:
        InputError: where the folder has no image; from iterating, where none can be read.
    """

    def __init__(self, folder: str | Path, fps: float = DEFAULT_FPS) -> None:
        self.name = str(folder)
        self.fps = fps
        files = [path for path in Path(folder).iterdir() if path.name[0] != "." and path.is_file()]
        files.sort(key=lambda path: natural_key(path.name))
        self._videos = [path.name for path in files if path.suffix.lower() in _VIDEO_SUFFIXES]
        self._paths = [path for path in files if path.suffix.lower() not in _VIDEO_SUFFIXES and _is_image(path)]
        if not self._paths:
            raise InputError(f"{folder}: has no image, expected some")
        self.n_frames = len(self._paths)
        self._unreadable: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            try:
                image = read_image(path)
            except OSError:
                image = None
            if image is None:
                self._unreadable.append(path.name)
            else:
                yield Frame(index, index / self.fps, image)
        if len(self._unreadable) == len(self._paths):
            raise InputError(f"{self.name}: none of its {len(self._paths)} images can be read, expected images")

    def check(self) -> list[str]:
        """See :class:`FrameSource`; what was left out is named."""
        left_out = ((self._unreadable, "cannot be read as images"), (self._videos, "are videos"))
        return [f"{self.name}: {listed(names)} {what} and are left out." for names, what in left_out if names]


class ImageFile(FrameSource):
    """One image, upright as its metadata say; the first one of a file that has several and is no video.

    Raises:
        InputError: from iterating, where it cannot be read.
    """

    is_image = True

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self.fps = DEFAULT_FPS
        self.n_frames = 1

    def __iter__(self) -> Iterator[Frame]:
        yield Frame(0, 0.0, _read(self.name))

    def check(self) -> list[str]:
        """See :class:`FrameSource`; images that were left out are counted."""
        n_images = count_images(self.name)
        return [f"{self.name}: the first of its {n_images} images is taken."] if n_images > 1 else []


class Arrays(FrameSource):
    """Frames that are in memory, or are made one by one.

    Args:
        frames: an image (H, W, 3), frames (T, H, W, 3), or an iterable of images, which may also be paths of images;
            uint8 RGB.
        fps: frames a second.

    Raises:
        InputError: where it is none of these; from iterating, where a frame is none.
    """

    is_repeatable = False

    def __init__(self, frames: Any, fps: float = DEFAULT_FPS) -> None:
        self.fps = fps
        if hasattr(frames, "__array__") or hasattr(frames, "__array_interface__"):
            array = np.asarray(frames)
            if array.ndim not in (3, 4):
                raise InputError(f"an array of shape {array.shape}, expected an image (H, W, 3) or frames (T, H, W, 3)")
            self.is_image = array.ndim == 3
            frames = array[None] if self.is_image else array
            self.n_frames = len(frames)
        elif not isinstance(frames, Iterable) or isinstance(frames, (bytes, bytearray)):
            raise InputError(f"a {type(frames).__name__}, expected a path, an array, or an iterable of frames")
        self.name = "an image" if self.is_image else "an array" if hasattr(frames, "shape") else "frames"
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        index = -1
        for index, frame in enumerate(self._frames):
            image = _read(frame) if isinstance(frame, (str, Path)) else np.asarray(frame)
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                found = f"{image.dtype} of shape {image.shape}"
                raise InputError(f"frame {index} is {found}, expected uint8 of shape (H, W, 3), RGB")
            yield Frame(index, index / self.fps, np.ascontiguousarray(image))
        if index < 0:
            raise InputError(f"{self.name}: there are none, expected at least one")


class Camera(FrameSource):
    """A camera by its number. Times are those of the clock, and the frames have no end.

    Raises:
        InputError: where there is no such camera, or it gives no image.
    """

    is_repeatable = False

    def __init__(self, number: int) -> None:
        self.name = f"camera {number}"
        self._capture = cv2.VideoCapture(number)
        # Old frames in a queue would make a live window lag.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if not self._capture.isOpened():
            raise InputError(f"{self.name}: cannot be opened, expected a camera that is free (0 is the first)")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 0 < fps < 1000 else DEFAULT_FPS

    def __iter__(self) -> Iterator[Frame]:
        beginning, index = None, 0
        while True:
            there, image = self._capture.read()
            now = time.monotonic()
            if not there:
                break
            beginning = now if beginning is None else beginning
            yield Frame(index, now - beginning, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))  # type: ignore[arg-type]
            index += 1
        if index == 0:
            raise InputError(f"{self.name}: gives no image, expected a camera that works")

    def check(self) -> list[str]:
        """See :class:`FrameSource`."""
        return [f"{self.name}: stopped giving images."]

    def close(self) -> None:
        self._capture.release()


def open_source(source: Any, fps: float = DEFAULT_FPS) -> FrameSource:
    """Opens whatever has frames.

    Args:
        source: the path of a video, an image, or a folder of images; a camera's number (below 1000); or arrays (see
            :class:`Arrays`).
        fps: of a folder's images and of arrays.

    Raises:
        InputError: where it cannot be opened.
    """
    if isinstance(source, int) and not isinstance(source, bool):
        return Camera(source)
    if not isinstance(source, (str, Path)):
        return Arrays(source, fps)
    name = str(source)
    if name.isdecimal() and len(name) <= 3 and not Path(name).exists():
        return Camera(int(name))
    refuse_address(name)
    path = Path(name)
    if path.is_dir():
        return ImageFolder(name, fps)
    return ImageFile(name) if path.is_file() and _is_single(path) else VideoFile(name)


def _read(path: str | Path) -> NDArray[np.uint8]:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file, expected an image")
    image = read_image(path)
    if image is None:
        raise InputError(f"{path}: cannot be decoded, expected an image or a video")
    return image


def _is_single(path: Path) -> bool:
    """True for one image, as against a video, whatever the file is called."""
    if not _is_image(path) or _is_animation(path):
        return False
    return _begins_as_image(path) or not is_video(path)


def _is_image(path: Path) -> bool:
    """True by the name, or by how the file begins."""
    return path.suffix.lower() in IMAGE_SUFFIXES or _begins_as_image(path)


def _begins_as_image(path: Path) -> bool:
    try:
        return is_heif(_head(path)) or bool(cv2.haveImageReader(for_ffmpeg(path)))
    except (cv2.error, OSError):
        return False


def _is_animation(path: Path) -> bool:
    """True for several images that FFmpeg reads as a video: of GIF, PNG, AVIF, HEIC or JPEG."""
    head = _head(path)
    if head.startswith((b"GIF8", b"\x89PNG")):
        return count_images(path) > 1
    if head.startswith(b"\xff\xd8"):
        return path.suffix.lower() in (".mjpeg", ".mjpg")
    return head[4:12] in (b"ftypavis", b"ftyphevc", b"ftypmsf1")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts names as people do: numbers in them by value."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]
