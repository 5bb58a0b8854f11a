"""Downloads of videos by pytube, by which the data set was made; it is unmaintained since 2023."""

import http.client
import re
import ssl
import threading
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ldeq.fetch import Connection
from utils.download.backend import Downloaded
from utils.download.failure import Failure, Kind, kind_of_message, kind_of_status
from utils.download.streams import Choice, Stream

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
            offered = {str(stream.itag): stream for stream in video.streams if stream.includes_video_track}
            choice = choose(_streams_of(offered, video.streaming_data))
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
            raise _failure(error, n_bytes, chosen) from error
        return Downloaded(Path(path), choice, n_bytes)


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


def _failure(error: Exception, n_bytes: int, stream: str) -> Failure:
    from pytube import exceptions

    by_class = {
        exceptions.VideoPrivate: Kind.PRIVATE,
        exceptions.VideoRegionBlocked: Kind.REGION,
        exceptions.AgeRestrictedError: Kind.LOGIN,
        exceptions.MembersOnly: Kind.LOGIN,
        exceptions.LiveStreamError: Kind.NO_STREAM,
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
