"""Downloads of videos by pytube, by which the data set was made; it is unmaintained since 2023."""

import http.client
import re
import ssl
import threading
import urllib.error
import urllib.parse
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ldeq.fetch import Connection
from utils.download.backend import Downloaded
from utils.download.failure import Failure, Kind, kind_of_message, kind_of_status
from utils.download.streams import Choice, Stream, choose_from_list, doubt_of_youtube

#: 'video/mp4; codecs="avc1.64001F, mp4a.40.2"'
_CODEC = re.compile(r'codecs="([^",]+)')


class PytubeBackend:
    """The :class:`utils.download.backend.Backend` of pytube, for YouTube alone, without cookies and rate limits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def download(
        self,
        address: str,
        folder: Path,
        choose: Callable[[Sequence[Stream]], Choice],
        on_bytes: Callable[[int], None],
    ) -> Downloaded:
        import pytube

        n_bytes, chosen = 0, ""  # the id of the chosen stream
        video: Any = None

        def on_progress(stream: object, chunk: bytes, remaining: int) -> None:
            nonlocal n_bytes
            n_bytes += len(chunk)
            on_bytes(len(chunk))

        proxy = self._connection.proxy
        threading.Event().wait(self._connection.sleep)
        try:
            video = pytube.YouTube(
                address, on_progress_callback=on_progress, proxies={"http": proxy, "https": proxy} if proxy else None
            )
            video.check_availability()
            unusable = _take_out_unusable(video.streaming_data)
            offered = {str(stream.itag): stream for stream in video.streams if stream.includes_video_track}
            streams = _streams_of(offered, video.streaming_data)
            choice = choose_from_list(streams, unusable, doubt_of_youtube(streams), choose)
            chosen = choice.stream.id
            path = offered[chosen].download(
                output_path=str(folder),
                filename=f"stream.{chosen}",
                skip_existing=False,
                timeout=self._connection.timeout,
                max_retries=3,
            )
            if n_bytes != offered[chosen].filesize:
                raise Failure(Kind.NETWORK, f"{n_bytes} bytes came of {offered[chosen].filesize}", n_bytes, chosen)
        except Failure:
            raise
        except urllib.error.HTTPError as error:
            raise Failure(kind_of_status(error.code), str(error), n_bytes, chosen) from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
            raise Failure(Kind.NETWORK, str(error) or type(error).__name__, n_bytes, chosen) from error
        except OSError:
            raise
        except Exception as error:  # what YouTube changes shows as whatever error pytube runs into
            raise _failure(error, _reason_given(video), n_bytes, chosen) from error
        return Downloaded(Path(path), choice, n_bytes)


def _take_out_unusable(listed: dict[str, Any]) -> list[Stream]:
    """Removes from YouTube's list what pytube cannot download and fails at; gives those of it that have an image."""
    unusable = []
    for key in ("formats", "adaptiveFormats"):
        entries = listed.get(key) or []
        lost = [entry for entry in entries if not _has_address(entry) or entry.get("drmFamilies")]
        listed[key] = [entry for entry in entries if entry not in lost]
        unusable += [
            Stream(str(entry.get("itag")), entry.get("width"), entry.get("height"))
            for entry in lost
            if str(entry.get("mimeType", "video")).startswith("video")
        ]
    return unusable


def _has_address(entry: dict[str, Any]) -> bool:
    cipher = urllib.parse.parse_qs(entry.get("signatureCipher") or "")
    return bool(entry.get("url")) or {"url", "s"} <= cipher.keys()


def _streams_of(offered: dict[str, Any], listed: dict[str, Any]) -> list[Stream]:
    """pytube's streams have no size in pixels; the list that they are made from has."""
    entries = {str(entry.get("itag")): entry for key in ("formats", "adaptiveFormats") for entry in listed.get(key, ())}
    streams = []
    for itag, stream in offered.items():
        entry = entries.get(itag, {})
        codec = _CODEC.search(entry.get("mimeType", ""))
        streams.append(
            Stream(
                id=itag,
                width=entry.get("width"),
                height=entry.get("height"),
                fps=entry.get("fps"),
                codec=codec[1] if codec else stream.video_codec,
                progressive=stream.is_progressive,
                bitrate=stream.bitrate,
            )
        )
    return streams


def _reason_given(video: Any) -> str:
    """What YouTube says on a video that it does not show; empty where it says nothing."""
    from pytube import extract

    reasons: list[str] = []
    with suppress(Exception):  # pytube fails at whatever YouTube has changed
        reasons += filter(None, extract.playability_status(video.watch_html)[1])
    with suppress(Exception):
        status = video.vid_info["playabilityStatus"]
        reasons += filter(None, [status.get("reason"), *status.get("messages", ())])
        subreason = status["errorScreen"]["playerErrorMessageRenderer"]["subreason"]
        reasons += [subreason.get("simpleText") or "".join(run["text"] for run in subreason["runs"])]
    return ". ".join(dict.fromkeys(map(str, reasons)))


def _failure(error: Exception, reason: str, n_bytes: int, stream: str) -> Failure:
    from pytube import exceptions

    # pytube calls all videos unavailable that YouTube does not show, be it for the next minutes.
    if reason and (kind := kind_of_message(reason)) is not Kind.BACKEND:
        return Failure(kind, reason, n_bytes, stream)
    by_class = {
        exceptions.VideoPrivate: Kind.PRIVATE,
        exceptions.VideoRegionBlocked: Kind.REGION,
        exceptions.AgeRestrictedError: Kind.LOGIN,
        exceptions.MembersOnly: Kind.LOGIN,
        exceptions.LiveStreamError: Kind.NOT_YET,
        exceptions.MaxRetriesExceeded: Kind.NETWORK,
        exceptions.VideoUnavailable: Kind.REMOVED,
    }
    for error_class, kind in by_class.items():
        if isinstance(error, error_class):
            return Failure(kind, str(error) or type(error).__name__, n_bytes, stream)
    kind = kind_of_message(str(error))
    if isinstance(error, exceptions.ExtractError | KeyError | AttributeError | TypeError) and kind is not Kind.REMOVED:
        kind = Kind.BACKEND
    return Failure(kind, f"pytube failed ({type(error).__name__}: {error}); --backend yt-dlp", n_bytes, stream)
