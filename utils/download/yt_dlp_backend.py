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
from utils.download.streams import Choice, Stream, choose_from_list, doubt_of_youtube

#: Attempts within one download, each going on where the last one broke off.
_RETRIES = 3
#: Messages of yt-dlp where it could not list all formats: the kind of failure that they mean, and the reason.
_DOUBTS = (
    (
        r"JavaScript runtime|JS runtime|(signature|nsig|challenge) (solving|extraction) failed",
        Kind.BACKEND,
        "yt-dlp says that some may be missing: install deno",
    ),
    (
        r"formats? may be missing|formats have been skipped|missing a url|field is missing|DRM protected|PO Token"
        r"|SABR|only images are available|player responses? from|possibly damaged|(failed|unable) to download",
        Kind.INCOMPLETE,
        "yt-dlp says that some may be missing",
    ),
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
        listed: list[Mapping[str, Any]] = []  # formats of the video, those included that yt-dlp leaves out
        of_youtube = False

        class Library(yt_dlp.YoutubeDL):  # type: ignore[misc]
            def process_video_result(self, info_dict: dict[str, Any], download: bool = True) -> Any:
                nonlocal of_youtube
                if info_dict.get("is_live") or info_dict.get("live_status") in ("is_live", "is_upcoming", "post_live"):
                    raise Failure(Kind.NOT_YET, "it is a live event, whose recording the site does not have yet")
                listed[:] = [dict(entry) for entry in info_dict.get("formats") or ()]
                of_youtube = info_dict.get("extractor_key") == "Youtube"
                return super().process_video_result(info_dict, download)

        def select(context: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
            formats = {str(entry["format_id"]): entry for entry in context["formats"] if is_original(entry)}
            streams = [_stream_of(entry) for entry in formats.values()]
            unusable = [_stream_of(entry) for entry in listed if _is_unusable(entry)]
            doubt = log.doubt or (doubt_of_youtube(streams) if of_youtube else None)
            choices.append(choose_from_list(streams, unusable, doubt, choose))
            yield formats[choices[-1].stream.id]

        counter, log = _ByteCounter(on_bytes), _Log()
        try:
            # In the folder, and with names that it gives itself: yt-dlp expands %, ~ and $ in those that it is given.
            with contextlib.chdir(folder), Library(self._options(select, counter, log)) as library:
                info = library.extract_info(address, download=True)
        except yt_dlp.utils.YoutubeDLError as error:
            stream = choices[-1].stream.id if choices else ""
            raise _failure(error, log.doubt, counter.n_bytes, stream) from error
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
    return not (_is_upscaled(entry) or _is_damaged(entry))


def _is_upscaled(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("format_id")).endswith("-sr") or "AI-upscaled" in (entry.get("format_note") or "")


def _is_damaged(entry: Mapping[str, Any]) -> bool:
    return "DAMAGED" in (entry.get("format_note") or "")


def _is_unusable(entry: Mapping[str, Any]) -> bool:
    """True if a format is of the image that was uploaded, and cannot be downloaded as it is."""
    if entry.get("vcodec") == "none" or entry.get("ext") == "mhtml" or _is_upscaled(entry):
        return False
    return bool(entry.get("has_drm")) or not entry.get("url") or _is_damaged(entry)


def _stream_of(entry: Mapping[str, Any]) -> Stream:
    protocol = entry.get("protocol")
    has_both = not {entry.get("vcodec"), entry.get("acodec")} & {"none", None}
    return Stream(
        id=str(entry.get("format_id")),
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
    """Prints nothing of what yt-dlp says: its lines would tear the progress bar, and errors come as exceptions."""

    def __init__(self) -> None:
        #: The kind of failure and the reason, where yt-dlp has said that it did not list all formats.
        self.doubt: tuple[Kind, str] | None = None

    def debug(self, message: str) -> None:
        # What yt-dlp would print: of ages that a site restricts it says this, which is a warning in all but name.
        if "formats may be missing" in message:
            self.warning(message)

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None:
        text = _ANSI_ESCAPE.sub("", message)
        found = ((kind, reason) for pattern, kind, reason in _DOUBTS if re.search(pattern, text, re.I))
        self.doubt = self.doubt or next(found, None)

    def error(self, message: str) -> None: ...


def _failure(error: Exception, doubt: tuple[Kind, str] | None, n_bytes: int, stream: str) -> Failure:
    """The failure that an error of yt-dlp means, by its causes where they tell, else by its message.

    Args:
        doubt: as of :func:`utils.download.streams.choose_from_list`; a video without formats may have some then.
    """
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
    kind = kind_of_message(message)
    if kind is Kind.NO_STREAM:
        doubt = doubt or (doubt_of_youtube(()) if "[youtube]" in message else None)
        if doubt is not None:
            return Failure(doubt[0], f"{message}; {doubt[1]}", n_bytes, stream)
    return Failure(kind, message, n_bytes, stream)


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
