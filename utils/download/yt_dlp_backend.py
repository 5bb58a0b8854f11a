"""Downloads of videos by yt-dlp: from YouTube and any other address that it knows, files and manifests included."""

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
#: Warnings of yt-dlp where it could not list all formats, for want of a JavaScript runtime or of what goes with it.
_INCOMPLETE_LIST = re.compile(
    r"formats may be missing|JavaScript runtime|JS runtime|challenge solving failed", re.IGNORECASE
)
_ANSI_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class YtDlpBackend:
    """The :class:`utils.download.backend.Backend` of yt-dlp."""

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

        choices: list[Choice] = []

        def select(context: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
            formats = {str(entry["format_id"]): entry for entry in context["formats"] if is_original(entry)}
            streams = [_stream_of(entry) for entry in formats.values()]
            _check_list(streams, log.warnings)
            choices.append(choose(streams))
            yield formats[choices[-1].stream.id]

        counter, log = _ByteCounter(on_bytes), _Log()
        try:
            # In the folder, and with names that it gives itself: yt-dlp expands %, ~ and $ in those that it is given.
            with contextlib.chdir(folder), yt_dlp.YoutubeDL(self._options(select, counter, log)) as library:
                info = library.extract_info(address, download=True)
        except yt_dlp.utils.YoutubeDLError as error:
            stream = choices[-1].stream.id if choices else ""
            raise _failure(error, counter.n_bytes, stream) from error
        paths = [entry.get("filepath") for entry in (info or {}).get("requested_downloads") or ()]
        if len(paths) != 1 or not choices:
            raise Failure(Kind.NO_STREAM, "the address leads to no single video", counter.n_bytes)
        return Downloaded(folder / str(paths[0]), choices[-1], counter.n_bytes)

    def _options(
        self, select: Callable[[Mapping[str, Any]], Any], counter: "_ByteCounter", log: "_Log"
    ) -> dict[str, Any]:
        connection = self._connection
        options: dict[str, Any] = {
            "format": select,
            "outtmpl": "stream.%(format_id)s.%(ext)s",
            "restrictfilenames": True,
            "progress_hooks": [counter.update],
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


def parse_browser(text: str) -> tuple[str, str | None, str | None, str | None]:
    """``BROWSER[+KEYRING][:PROFILE][::CONTAINER]`` as yt-dlp wants it: browser, profile, keyring, container.

    Raises:
        ValueError: where it is something else, or yt-dlp does not know the browser.
    """
    from yt_dlp.cookies import SUPPORTED_BROWSERS, SUPPORTED_KEYRINGS

    match = re.fullmatch(
        r"(?P<browser>[^+:]+)(\+(?P<keyring>[^:]+))?(:(?!:)(?P<profile>.+?))?(::(?P<container>.+))?", text
    )
    if match is None or match["browser"].lower() not in SUPPORTED_BROWSERS:
        raise ValueError(f"{text!r} is no browser, expected one of {', '.join(sorted(SUPPORTED_BROWSERS))}")
    keyring = match["keyring"].upper() if match["keyring"] else None
    if keyring is not None and keyring not in SUPPORTED_KEYRINGS:
        raise ValueError(f"{keyring!r} is no keyring, expected one of {', '.join(sorted(SUPPORTED_KEYRINGS))}")
    return match["browser"].lower(), match["profile"], keyring, match["container"]


def is_original(entry: Mapping[str, Any]) -> bool:
    """True if a format that yt-dlp lists has the image that was uploaded: not upscaled by YouTube, and not damaged."""
    if entry.get("vcodec") == "none" or entry.get("ext") == "mhtml" or entry.get("has_drm"):
        return False
    note = entry.get("format_note") or ""
    return not (str(entry["format_id"]).endswith("-sr") or "AI-upscaled" in note or "DAMAGED" in note)


def _check_list(streams: Sequence[Stream], warnings: Sequence[str]) -> None:
    """Raises Failure where the larger streams, by which the annotated size is told, may only be missing in the list."""
    missing = any(_INCOMPLETE_LIST.search(warning) for warning in warnings)
    if missing and streams and not any(stream.size is not None and is_hd(stream.size) for stream in streams):
        raise Failure(Kind.BACKEND, "yt-dlp lists no stream of 720p, and says that some may be missing: install deno")


def _stream_of(entry: Mapping[str, Any]) -> Stream:
    protocol = entry.get("protocol")
    has_both = not {entry.get("vcodec"), entry.get("acodec")} & {"none", None}
    return Stream(
        id=str(entry["format_id"]),
        width=entry.get("width"),
        height=entry.get("height"),
        fps=entry.get("fps"),
        codec=entry.get("vcodec"),
        # Playlists have sound and image in one as well, of 720p and more: none of them is what pytube took.
        progressive=has_both and protocol in ("http", "https", None),
        bitrate=entry.get("vbr") or entry.get("tbr"),
        segmented="m3u8" in (protocol or ""),
    )


class _ByteCounter:
    """Counts received bytes over all attempts."""

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
    """Keeps warnings and prints nothing: lines of yt-dlp would tear the progress bar, and errors come as exceptions."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None:
        self.warnings.append(_ANSI_ESCAPE.sub("", message))

    def error(self, message: str) -> None: ...


def _failure(error: Exception, n_bytes: int, stream: str) -> Failure:
    """The failure that an error of yt-dlp means, by its causes where they tell, else by its message."""
    message = _ANSI_ESCAPE.sub("", str(error)).removeprefix("ERROR: ").split("; please report this issue")[0]
    for cause in _causes(error):
        if isinstance(cause, Failure):
            return cause
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise cause
        status = getattr(cause, "status", None)
        if isinstance(status, int):
            return Failure(kind_of_status(status), message, n_bytes, stream)
    if "No space left" in message:
        raise OSError(errno.ENOSPC, "No space left on device")
    return Failure(kind_of_message(message), message, n_bytes, stream)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and the errors that it was raised from, by each of the ways in which yt-dlp keeps them."""
    queue, seen = [error], set[int]()
    while queue:
        cause = queue.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        kept = [(getattr(cause, "exc_info", None) or (None, None))[1], getattr(cause, "cause", None)]
        queue += [other for other in (*kept, cause.__cause__, cause.__context__) if isinstance(other, BaseException)]
