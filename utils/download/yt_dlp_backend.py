"""Videos by way of yt-dlp: YouTube, and any other address that it knows, plain files and manifests included."""

import contextlib
import errno
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ldeq.fetch import Connection
from utils.download.backend import Downloaded
from utils.download.failure import Failure, Kind, kind_of_message, kind_of_status
from utils.download.streams import Choice, Stream, is_hd

#: Attempts within one download, each going on where the last one broke off.
_RETRIES = 3
#: What yt-dlp warns of where it could not list all formats, for want of a JavaScript runtime or of what goes with it.
_NOT_ALL = re.compile(r"formats may be missing|JavaScript runtime|JS runtime|challenge solving failed", re.IGNORECASE)
_TERMINAL = re.compile(r"\x1b\[[0-9;]*m")


class YtDlpBackend:
    """See :class:`utils.download.backend.Backend`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def download(
        self,
        address: str,
        folder: Path,
        choose: Callable[[Sequence[Stream]], Choice],
        on_bytes: Callable[[int], None],
    ) -> Downloaded:
        import yt_dlp

        made: list[Choice] = []

        def select(context: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
            formats = {str(one["format_id"]): one for one in context["formats"] if is_original(one)}
            streams = [_stream_of(one) for one in formats.values()]
            _check_list(streams, log.warnings)
            made.append(choose(streams))
            yield formats[made[-1].stream.id]

        meter, log = _Meter(on_bytes), _Log()
        try:
            # In the folder, and with names that it gives itself: yt-dlp expands %, ~ and $ in those that it is given.
            with contextlib.chdir(folder), yt_dlp.YoutubeDL(self._options(select, meter, log)) as library:
                info = library.extract_info(address, download=True)
        except yt_dlp.utils.YoutubeDLError as error:
            stream = made[-1].stream.id if made else ""
            raise _failure(error, meter.n_bytes, stream) from error
        paths = [one.get("filepath") for one in (info or {}).get("requested_downloads") or ()]
        if len(paths) != 1 or not made:
            raise Failure(Kind.NO_STREAM, "the address leads to no single video", meter.n_bytes)
        return Downloaded(folder / str(paths[0]), made[-1], meter.n_bytes)

    def _options(self, select: Callable[[Mapping[str, Any]], Any], meter: "_Meter", log: "_Log") -> dict[str, Any]:
        connection = self._connection
        options: dict[str, Any] = {
            "format": select,
            "outtmpl": "stream.%(format_id)s.%(ext)s",
            "restrictfilenames": True,
            "progress_hooks": [meter.update],
            "logger": log,
            "quiet": True,
            "noprogress": True,
            "noplaylist": True,
            "playlist_items": "1",
            "fixup": "never",
            "updatetime": False,
            "retries": _RETRIES,
            "fragment_retries": _RETRIES,
            "extractor_retries": _RETRIES,
            "skip_unavailable_fragments": False,
            "socket_timeout": connection.timeout,
            "proxy": connection.proxy,
            "ratelimit": connection.limit_rate,
            # As text: yt-dlp writes cookies back when it ends, and a file of the user's is not for many processes to.
            "cookiefile": io.StringIO(Path(connection.cookies).read_text("utf-8")) if connection.cookies else None,
        }
        if connection.sleep:
            options |= {"sleep_interval": connection.sleep, "max_sleep_interval": 2 * connection.sleep}
        if connection.cookies_from_browser:
            options["cookiesfrombrowser"] = parse_browser(connection.cookies_from_browser)
        return options


def parse_browser(words: str) -> tuple[str, str | None, str | None, str | None]:
    """``BROWSER[+KEYRING][:PROFILE][::CONTAINER]`` as yt-dlp wants it: browser, profile, keyring, container.

    Raises:
        ValueError: where it is something else, or yt-dlp does not know the browser.
    """
    from yt_dlp.cookies import SUPPORTED_BROWSERS, SUPPORTED_KEYRINGS

    match = re.fullmatch(r"(?P<browser>[^+:]+)(\+(?P<keyring>[^:]+))?(:(?!:)(?P<profile>.+?))?(::(?P<box>.+))?", words)
    if match is None or match["browser"].lower() not in SUPPORTED_BROWSERS:
        raise ValueError(f"{words!r} is no browser, expected one of {', '.join(sorted(SUPPORTED_BROWSERS))}")
    keyring = match["keyring"].upper() if match["keyring"] else None
    if keyring is not None and keyring not in SUPPORTED_KEYRINGS:
        raise ValueError(f"{keyring!r} is no keyring, expected one of {', '.join(sorted(SUPPORTED_KEYRINGS))}")
    return match["browser"].lower(), match["profile"], keyring, match["box"]


def is_original(one: Mapping[str, Any]) -> bool:
    """Whether a format that yt-dlp lists is the image that was uploaded: not made larger by YouTube, not damaged."""
    if one.get("vcodec") == "none" or one.get("ext") == "mhtml" or one.get("has_drm"):
        return False
    note = one.get("format_note") or ""
    return not (str(one["format_id"]).endswith("-sr") or "AI-upscaled" in note or "DAMAGED" in note)


def _check_list(streams: Sequence[Stream], warnings: Sequence[str]) -> None:
    """Raises Failure where the larger streams, by which the annotated size is told, may only be missing in the list."""
    missing = any(_NOT_ALL.search(warning) for warning in warnings)
    if missing and streams and not any(one.size is not None and is_hd(one.size) for one in streams):
        raise Failure(Kind.BACKEND, "yt-dlp lists no stream of 720p, and says that some may be missing: install deno")


def _stream_of(one: Mapping[str, Any]) -> Stream:
    protocol = one.get("protocol")
    has_both = not {one.get("vcodec"), one.get("acodec")} & {"none", None}
    return Stream(
        id=str(one["format_id"]),
        width=one.get("width"),
        height=one.get("height"),
        fps=one.get("fps"),
        codec=one.get("vcodec"),
        # Playlists have sound and image in one as well, of 720p and more: none of them is what pytube took.
        progressive=has_both and protocol in ("http", "https", None),
        bitrate=one.get("vbr") or one.get("tbr"),
        in_pieces="m3u8" in (protocol or ""),
    )


class _Meter:
    """Counts bytes as they come, over all attempts."""

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self.n_bytes = 0
        self._on_bytes = on_bytes
        self._position = 0

    def update(self, status: Mapping[str, Any]) -> None:
        position = int(status.get("downloaded_bytes") or 0)
        new = max(0, position - self._position)
        self._position = position
        self.n_bytes += new
        if new:
            self._on_bytes(new)


class _Log:
    """Errors come as exceptions; what else yt-dlp has to say would tear the progress bar. Warnings are kept."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None:
        self.warnings.append(_TERMINAL.sub("", message))

    def error(self, message: str) -> None: ...


def _failure(error: Exception, n_bytes: int, stream: str) -> Failure:
    """What an error of yt-dlp means, by the errors beneath it where they tell, else by its words."""
    message = _TERMINAL.sub("", str(error)).removeprefix("ERROR: ").split("; please report this issue")[0]
    for beneath in _chain(error):
        if isinstance(beneath, Failure):
            return beneath
        if isinstance(beneath, OSError) and beneath.errno in (errno.ENOSPC, errno.EDQUOT):
            raise beneath
        status = getattr(beneath, "status", None)
        if isinstance(status, int):
            return Failure(kind_of_status(status), message, n_bytes, stream)
    if "No space left" in message:
        raise OSError(errno.ENOSPC, "No space left on device")
    return Failure(kind_of_message(message), message, n_bytes, stream)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, by each of the ways in which yt-dlp keeps it."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        kept = [(getattr(one, "exc_info", None) or (None, None))[1], getattr(one, "cause", None)]
        waiting += [other for other in (*kept, one.__cause__, one.__context__) if isinstance(other, BaseException)]
