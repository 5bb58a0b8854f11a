"""Failures of downloads, by kinds that reports count and retries depend on."""

import errno
import re
import ssl
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """Kinds of failure. The values are words of the report."""

    REMOVED = "removed"
    PRIVATE = "private"
    REGION = "region-locked"
    LOGIN = "login"
    BLOCKED = "blocked"
    NETWORK = "network"
    NOT_YET = "not-yet"
    INCOMPLETE = "incomplete-list"
    NO_STREAM = "no-stream"
    LENGTH = "wrong-length"
    WRONG_SIZE = "wrong-size"
    UNDECODABLE = "undecodable"
    NO_RANGE = "no-range"
    ANNOTATIONS = "annotations"
    BACKEND = "backend"
    CRASHED = "crashed"

    @property
    def is_transient(self) -> bool:
        """True if the same request may succeed a little later."""
        return self in (Kind.BLOCKED, Kind.NETWORK, Kind.NOT_YET, Kind.INCOMPLETE, Kind.UNDECODABLE, Kind.CRASHED)

    @property
    def advice(self) -> str:
        """A remedy, in words for the user."""
        return _ADVICE[self]


_ADVICE = {
    Kind.REMOVED: "gone from the site; --source archive may have it",
    Kind.PRIVATE: "no longer public; --source archive may have it",
    Kind.REGION: "not shown in your country: --proxy of another one",
    Kind.LOGIN: "needs a login: --cookies or --cookies-from-browser",
    Kind.BLOCKED: "the site slows you down: --cookies-from-browser, --sleep, fewer --n_processes, or wait",
    Kind.NETWORK: "the connection failed: run the command again",
    Kind.NOT_YET: "the site has it soon: run the command again later",
    Kind.INCOMPLETE: "the site did not list all streams: run the command again, update yt-dlp",
    Kind.NO_STREAM: "there is no video to download at this address",
    Kind.LENGTH: "the video is no longer what was annotated",
    Kind.WRONG_SIZE: "no stream has the size that was annotated",
    Kind.UNDECODABLE: "the file is damaged: run the command again",
    Kind.NO_RANGE: "the list of frame ranges lacks this id",
    Kind.ANNOTATIONS: "bboxes or landmarks are missing or do not fit: delete them and run the command again",
    Kind.BACKEND: "the downloader does not understand the site: update yt-dlp, install deno",
    Kind.CRASHED: "an error of ours or of a library: please report it",
}


class Failure(Exception):
    """A video or a file that could not be downloaded, or is not what it should be.

    Args:
        kind: the kind of failure, by which it is counted and retried.
        message: a sentence for the report.
        n_bytes: the number of bytes that were transferred before.
        stream: id of the stream that failed, where one had been chosen.
    """

    def __init__(self, kind: Kind, message: str, n_bytes: int = 0, stream: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = " ".join(message.split())
        self.n_bytes = n_bytes
        self.stream = stream

    def __reduce__(self) -> tuple[type["Failure"], tuple[Kind, str, int, str]]:
        return Failure, (self.kind, self.message, self.n_bytes, self.stream)


#: Errors of files and of the system's limits; other errors of the system are of the connection.
_DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE},
)


def is_disk_error(error: OSError) -> bool:
    """True if files cannot be written, so that the next video would fail as well."""
    return error.errno in _DISK_ERRORS and not isinstance(error, ssl.SSLError)  # whose numbers are OpenSSL's


def is_web_page(path: Path) -> bool:
    """True if a file is HTML, as sites send in place of files that they refuse."""
    with path.open("rb") as file:
        return file.read(512).lstrip().lower().startswith((b"<!doctype", b"<html"))


def kind_of_status(status: int) -> Kind:
    """The kind of failure of an HTTP status of 400 or more (RFC 9110, RFC 6585, RFC 7725)."""
    known = {401: Kind.LOGIN, 404: Kind.REMOVED, 410: Kind.REMOVED, 429: Kind.BLOCKED, 451: Kind.REGION}
    if status in known:
        return known[status]
    # A video site's 403 is an address that has run out, or a client that it mistrusts.
    return Kind.BLOCKED if status == 403 else Kind.NETWORK


#: Regular expressions for lower-case error messages of yt-dlp, pytube and YouTube; the first that is found decides.
#: What passes comes before what stays, since YouTube says "video unavailable" before either.
_ERROR_PATTERNS: dict[Kind, str] = {
    Kind.REGION: "in your country|your location|geo.restrict|your region|in your jurisdiction|http error 451",
    Kind.BLOCKED: "not a bot|captcha|too many requests|rate.?limit|try again later|page needs to be reloaded"
    "|likely being blocked|unusual traffic|content isn.t available|not available on this app|http error (403|429)",
    Kind.NOT_YET: "check back later|processing this video|still processing|being processed|premiere|live event"
    "|streaming live|will begin|begins (in|shortly)|starting soon|is offline|not yet available"
    "|(currently|temporarily) (unavailable|not available)",
    Kind.PRIVATE: "private video|video is private|is a private",
    Kind.LOGIN: "confirm your age|age.restricted|inappropriate|members.only|join this channel|sign in|login required"
    "|registered users|requires payment|purchase|http error 401",
    Kind.INCOMPLETE: r"\bdrm\b|formats may be missing|missing a url|po token|\bsabr\b|only images are available"
    r"|challenge solving failed|signature (solving|extraction) failed|\bnsig\b",
    Kind.NETWORK: "http error 5|service unavailable|unreachable",
    Kind.REMOVED: "video unavailable|video is (unavailable|not available)|has been removed|been terminated|deleted"
    "|no longer available|does not exist|removed by the uploader|copyright|account associated|incomplete youtube id"
    "|is unavailable|recording is not available|not have a live stream recording|http error (404|410)",
    Kind.NO_STREAM: "unsupported url|no video formats|requested format is not available",
}
#: As above, where none of those is found.
_CONNECTION = (
    "connect|timed out|timeout|temporary failure|name resolution|failed to resolve|no route|reset by peer|broken pipe"
    "|ssl|bytes read|more expected|unable to download|giving up|urlopen error|proxy|incomplete"
)
#: What yt-dlp puts before a message, with an id that could hold any word.
_PREFIX = re.compile(r"^\[[^\]]*\] \S+: ")


def kind_of_message(message: str) -> Kind:
    """The kind of failure of a downloader's error message; :attr:`Kind.BACKEND` where no pattern is found in it."""
    text = _PREFIX.sub("", message).lower()
    found = (kind for kind, pattern in _ERROR_PATTERNS.items() if re.search(pattern, text))
    return next(found, Kind.NETWORK if re.search(_CONNECTION, text) else Kind.BACKEND)
