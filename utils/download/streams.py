"""The choice of the stream of a video that fits annotations which were made on another one.

The annotations are in pixels of the stream that pytube's ``get_highest_resolution`` gave: the largest *progressive*
stream (sound and image in one file), which YouTube then had at 720p where the upload had it, and else at 360p. The
720p ones have been withdrawn since, while video-only streams of the same size exist.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from utils.download.failure import Failure, Kind

Size = tuple[int, int]

#: YouTube fits images into 1280×720 for 720p, or the upright of that; 2.39:1 becomes 1280×536.
_LONG, _SHORT = 1280, 720
_SMALL_LONG, _SMALL_SHORT = 640, 360
#: The annotated streams have at most 30 frames a second; for uploads with more, each second one was left out.
_FAST = 45.0


@dataclass(frozen=True)
class Stream:
    """A stream of a video, as its site lists it; None where the site does not tell."""

    id: str
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    codec: str | None = None
    progressive: bool = False
    bitrate: float | None = None
    #: Comes in segments of a playlist (HLS), which are made anew now and then, rather than as the file itself.
    segmented: bool = False

    @property
    def size(self) -> Size | None:
        """Width and height in pixels."""
        return (self.width, self.height) if self.width and self.height else None


@dataclass(frozen=True)
class Choice:
    """The stream to download, and the changes to its frames."""

    stream: Stream
    #: Width and height that frames are scaled to; None leaves them as they are.
    size: Size | None
    #: Only every ``step``-th frame counts.
    step: int = 1
    #: A remark for the report.
    note: str = ""

    @property
    def enlarges(self) -> bool:
        """True if frames are scaled up: a smaller stream in place of one that would show more."""
        return self.size is not None and self.stream.size is not None and _area(self.stream.size) < _area(self.size)


def choose(streams: Sequence[Stream], min_size: tuple[float, float], avoid: Collection[str] = frozenset()) -> Choice:
    """The stream for annotations that need a frame of at least ``min_size`` (width and height in pixels).

    1. The annotated size is that of 720p if any stream has 720p or more, else the largest progressive stream's, else
       that of 360p. If the annotations do not fit in, it is the smallest listed size that they fit in.
    2. Of the streams, the one of this size; else the smallest larger one, else the largest, to be scaled.
    3. Among those: at most 30 frames a second before more (of which each second frame is taken), H.264 before others
       and progressive before others (both as annotated), files before playlists, then the highest bit rate.

    Streams whose ids are in ``avoid`` count for the annotated size, which is the video's; they are taken only where
    there is no other.

    Where no stream tells its size, the largest bit rate is taken, and nothing is scaled.

    Raises:
        Failure: where there is no stream, or the annotations reach out of all of them.
    """
    if not streams:
        raise Failure(Kind.NO_STREAM, "the site lists no stream with an image")
    sizes = sorted({stream.size for stream in streams if stream.size}, key=_area)
    left = [stream for stream in streams if stream.id not in avoid] or list(streams)
    if not sizes:
        return Choice(max(left, key=lambda stream: (stream.progressive, stream.bitrate or 0.0)), None)
    size, note = _annotated_size(streams, sizes, min_size)
    sized = [stream for stream in left if stream.size] or [stream for stream in streams if stream.size]
    best = min(sized, key=lambda stream: _rank(stream, size))
    step = 2 if _is_fast(best) else 1
    notes = [note] if note else []
    if best.size != size:
        notes.append(f"scaled from {best.width}x{best.height}")
    if step > 1:
        notes.append(f"every second frame of {best.fps:g} a second")
    return Choice(best, size, step, "; ".join(notes))


def choose_from_list(
    streams: Sequence[Stream],
    unusable: Sequence[Stream],
    doubt: tuple[Kind, str] | None,
    choose: Callable[[Sequence[Stream]], Choice],
) -> Choice:
    """What ``choose`` takes from a site's list, if the list is whole enough to tell the annotated size by.

    That is the size of 720p where the video has it, so a list without it must not have lost it.

    Args:
        streams: those that can be downloaded.
        unusable: others that the site lists: without an address, encrypted, or damaged.
        doubt: the kind of failure and the reason, where the site may have streams that it does not list.
        choose: picks one of the streams.

    Raises:
        Failure: that of ``choose``; or where the list is not whole, one that another attempt may not have.
    """
    sizes = [stream.size for stream in streams if stream.size]
    largest = max((_area(size) for size in sizes), default=0)
    lost = [stream for stream in unusable if stream.size is None or _area(stream.size) > largest]
    if lost and doubt is None:
        named = ", ".join(sorted({f"{stream.width}x{stream.height}" for stream in lost if stream.size}))
        doubt = (Kind.INCOMPLETE, f"others ({named or 'of unknown sizes'}) have no address, DRM, or are damaged")
    found = "no stream of 720p can be downloaded" if streams else "no stream with an image can be downloaded"
    if doubt is not None and (not streams or (sizes and not any(is_hd(size) for size in sizes))):
        raise Failure(doubt[0], f"{found}, and {doubt[1]}")
    try:
        return choose(streams)
    except Failure as failure:
        if doubt is None or failure.kind not in (Kind.WRONG_SIZE, Kind.NO_STREAM):
            raise
        raise Failure(doubt[0], f"{failure.message}; {doubt[1]}") from failure


def doubt_of_youtube(streams: Sequence[Stream]) -> tuple[Kind, str] | None:
    """The doubt on a list of YouTube's that lacks what every video has: streams of the image alone.

    What is left where a client is given no addresses of these, or may not use them, is one of 360p.
    """
    if all(stream.progressive for stream in streams):
        return Kind.INCOMPLETE, "YouTube lists none without sound, which it has of every video"
    return None


def _area(size: Size) -> int:
    return size[0] * size[1]


def _fits(min_size: tuple[float, float], size: Size) -> bool:
    return min_size[0] <= size[0] and min_size[1] <= size[1]


def _annotated_size(
    streams: Sequence[Stream], sizes: Sequence[Size], min_size: tuple[float, float]
) -> tuple[Size, str]:
    """The size of the stream that was annotated, and a remark for the report."""
    small = [size for size in sizes if max(size) <= _SMALL_LONG and min(size) <= _SMALL_SHORT]
    note = ""
    if any(is_hd(size) for size in sizes):
        size = _hd_size(sizes)
        if small and _fits(min_size, small[-1]):
            note = f"the annotations would fit in {small[-1][0]}x{small[-1][1]} as well"
    else:
        progressive = [size for size in sizes if any(stream.progressive and stream.size == size for stream in streams)]
        size = (progressive or small or sizes)[-1]
    if _fits(min_size, size):
        return size, note
    larger = [size for size in sizes if _fits(min_size, size)]
    if not larger:
        width, height = sizes[-1]
        raise Failure(
            Kind.WRONG_SIZE,
            f"landmarks reach to {min_size[0]:.0f}, {min_size[1]:.0f}; the largest stream is {width}x{height}",
        )
    return larger[0], f"not {size[0]}x{size[1]}, in which the annotations do not fit"


def is_hd(size: Size) -> bool:
    """True for 720p or more."""
    return max(size) >= _LONG or min(size) >= _SHORT


def _hd_size(sizes: Sequence[Size]) -> Size:
    """The listed size of 720p, or else the largest size scaled into 1280×720 (or its upright), with even sides."""
    listed = [size for size in sizes if is_hd(size) and max(size) <= _LONG and min(size) <= _SHORT]
    if listed:
        return listed[-1]
    width, height = sizes[-1]
    scale = min(_LONG / max(width, height), _SHORT / min(width, height))
    return 2 * round(width * scale / 2), 2 * round(height * scale / 2)


def _is_fast(stream: Stream) -> bool:
    return (stream.fps or 0.0) > _FAST


def _rank(stream: Stream, wanted: Size) -> tuple[object, ...]:
    """A sort key by which the best stream comes first."""
    assert stream.size is not None
    area, wanted_area = _area(stream.size), _area(wanted)
    if stream.size == wanted:
        distance = (0, 0)
    elif area >= wanted_area:
        distance = (1, area)
    else:
        distance = (2, -area)
    other_codec = not (stream.codec or "avc1").startswith(("avc", "h264"))
    kind = (_is_fast(stream), other_codec, not stream.progressive, stream.segmented)
    return distance, kind, -(stream.bitrate or 0.0), stream.id
