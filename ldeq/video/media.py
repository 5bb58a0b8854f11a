"""Media files opened with PyAV, the streams of them that count, and images read with a sentence about what is wrong."""

import functools
import os
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError
from ldeq.files import written_whole

T = TypeVar("T")


def for_ffmpeg(path: str | Path) -> str:
    """The absolute path: FFmpeg takes ``a:b.mp4`` for file b.mp4 by protocol a.

    Raises:
        InputError: where it is no text, which ends OpenCV's whole process.
    """
    absolute = os.path.abspath(path)
    try:
        absolute.encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!r}: has bytes that are no UTF-8, expected a path that is text") from None
    return absolute


def open_media(path: str | Path) -> Any:
    """A media file as a PyAV container, which is closed by its user.

    Raises:
        av.FFmpegError: where it is none.
        InputError, OSError: where it cannot be opened.
    """
    import av

    # A playlist may name other files and addresses, which nobody asked for.
    options = {"protocol_whitelist": "file"}
    opened: Callable[..., Any] = functools.partial(av.open, for_ffmpeg(path), container_options=options)
    try:
        return opened()
    except UnicodeDecodeError:  # by titles that are not UTF-8; PyAV 19 takes them as they are, and has no such argument
        return opened(metadata_errors="replace")


def choose_streams(container: Any) -> tuple[Any, Any]:
    """The video stream that is meant, and the first audio stream that can be decoded; None where there is none.

    Of several video streams it is the one that the file calls its default; where it calls so none or more than one, the
    longest, and then the first. Covers and thumbnails are none.
    """
    from av.stream import Disposition

    videos = video_streams(container)
    default = [stream for stream in videos if stream.disposition & Disposition.default]
    videos = default if len(default) == 1 else videos

    def seconds(stream: Any) -> float:
        return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0

    video = max(videos, key=seconds, default=None)
    return video, next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def video_streams(container: Any) -> list[Any]:
    """The video streams of a container that are no covers, thumbnails or still images."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    return [stream for stream in container.streams.video if not stream.disposition & still]


def seconds_declared(container: Any, stream: Any, others: Sequence[Any]) -> float:
    """The seconds from a stream's beginning to its end, or to the container's end, as the file says; 0 if it says none.

    Where the container has more than these streams, as subtitles, its end may be theirs, and does not count. Some
    formats count from the container's first packet and others from time 0; here it is the lesser.

    Args:
        others: streams that are read beside this one.
    """
    import av

    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    seconds = float(Fraction(container.duration or 0, av.time_base))
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))  # Matroska's
    if tag is not None:
        seconds = 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
    elif len(container.streams) > 1 + len(others):
        return 0.0
    first = min(0.0, float(Fraction(container.start_time or 0, av.time_base)))
    return max(0.0, seconds - max(0.0, beginning_of(stream) - first))


def beginning_of(stream: Any) -> float:
    """The time of a stream's first packet, in seconds."""
    return float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0


def read_image(path: str | Path) -> NDArray[np.uint8] | None:
    """The image (H, W, 3) RGB of a file, upright as its metadata say; None where it is none or too large to be decoded.

    OpenCV decodes what it can, and Pillow the rest: AVIF and HEIC, whose orientation OpenCV leaves out, and TIFF turned
    by a right angle.

    Raises:
        OSError: where the file cannot be read.
    """
    content = np.fromfile(path, np.uint8)
    image = None
    if content.size and not is_heif(content[:64].tobytes()):
        with suppress(cv2.error):
            image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if image is not None:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    return _read_with_pillow(content.tobytes())


def is_video(path: str | Path) -> bool:
    """True for media files with a video stream, which FFmpeg's readers of single images do not read."""
    import av

    try:
        with open_media(path) as container:
            is_single = container.format.name.endswith("_pipe") or container.format.name in ("image2", "ico")
            return not is_single and choose_streams(container)[0] is not None
    except (av.FFmpegError, OSError, InputError):
        return False


def count_images(path: str | Path) -> int:
    """The number of images in a file that Pillow can read, those that are seen at one time counted as one; else 1."""

    def count(image: Any) -> int:
        # Cameras' JPEG files may hold previews, and icons are one image in several sizes.
        return int(getattr(image, "n_frames", 1)) if image.format in ("AVIF", "GIF", "PNG", "TIFF", "WEBP") else 1

    return _by_pillow(path, count) or 1


def is_heif(head: bytes) -> bool:
    """True where a file begins as AVIF or HEIC do."""
    return head[4:8] == b"ftyp" and any(brand in head[8:] for brand in (b"avif", b"heic", b"heix", b"mif1"))


def _read_with_pillow(content: bytes) -> NDArray[np.uint8] | None:
    from PIL import ImageOps

    _let_pillow_read_heif()
    return _by_pillow(
        BytesIO(content),
        lambda image: np.asarray(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8),
    )


def _by_pillow(source: str | Path | BytesIO, use: Callable[[Any], T]) -> T | None:
    """What ``use`` makes of an image as Pillow opens it; None where that cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(source) as image:
            return use(image)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None


@functools.cache
def _let_pillow_read_heif() -> None:
    import pi_heif

    pi_heif.register_heif_opener()


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes an image (H, W, 3) RGB in the format that the file's suffix names, whole or not at all.

    Raises:
        InputError: where it cannot be written.
    """
    coded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with written_whole(path) as temporary:
        temporary.write_bytes(coded.tobytes())
