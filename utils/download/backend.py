"""The interface of the libraries that download videos from their sites."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ldeq.fetch import Connection
from utils.download.streams import Choice, Stream

BACKENDS = ("yt-dlp", "pytube")


@dataclass(frozen=True)
class Downloaded:
    """A video file on disk, and the stream that it is."""

    path: Path
    choice: Choice
    #: Bytes that were transferred.
    n_bytes: int


class Backend(Protocol):
    """Downloads one stream of a video.

    Args of :meth:`download`:
        address: web address of the video's page or file.
        folder: an empty folder, or that of the attempt before, whose bytes may be used.
        choose: picks a stream from those that the site lists.
        on_bytes: is called with the number of bytes that were received since its last call.

    It raises :class:`utils.download.failure.Failure` where the video cannot be downloaded, and OSError where the disk
    is full.
    """

    def download(
        self,
        address: str,
        folder: Path,
        choose: Callable[[Sequence[Stream]], Choice],
        on_bytes: Callable[[int], None],
    ) -> Downloaded: ...


def make_backend(name: str, connection: Connection) -> Backend:
    """The backend of that name (one of :data:`BACKENDS`); its library is imported when it is used."""
    if name == "pytube":
        from utils.download.pytube_backend import PytubeBackend

        return PytubeBackend(connection)
    from utils.download.yt_dlp_backend import YtDlpBackend

    return YtDlpBackend(connection)
