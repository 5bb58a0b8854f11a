"""Why something could not be had, in kinds that a report counts and a retry decides by."""

import errno
import re
import ssl
from enum import StrEnum


class Kind(StrEnum):
    """What kept a video away. Members are words of the report; :attr:`advice` says what helps."""

    REMOVED = "removed"
    PRIVATE = "private"
    REGION = "region-locked"
    LOGIN = "login"
    BLOCKED = "blocked"
    NETWORK = "network"
    NO_STREAM = "no-stream"
    LENGTH = "wrong-length"
    WRONG_SIZE = "wrong-size"
    UNDECODABLE = "undecodable"
    NO_RANGE = "no-range"
    ANNOTATIONS = "annotations"
    BACKEND = "backend"
    CRASHED = "crashed"

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self in (Kind.BLOCKED, Kind.NETWORK, Kind.UNDECODABLE, Kind.CRASHED)

    @property
    def advice(self) -> str:
        return _ADVICE[self]


_ADVICE = {
    Kind.REMOVED: "gone from the site; --source archive may have it",
    Kind.PRIVATE: "no longer public; --source archive may have it",
    Kind.REGION: "not shown in your country: --proxy of another one",
    Kind.LOGIN: "for signed-in viewers (age, members): --cookies or --cookies-from-browser",
    Kind.BLOCKED: "the site slows you down: --cookies-from-browser, --sleep, fewer --n_processes, or wait",
    Kind.NETWORK: "the connection failed: run the command again",
    Kind.NO_STREAM: "there is no video to download at this address",
    Kind.LENGTH: "the video is no longer what was annotated",
    Kind.WRONG_SIZE: "no stream has the size that was annotated",
    Kind.UNDECODABLE: "the file is damaged: run the command again",
    Kind.NO_RANGE: "the list of frame ranges lacks this id",
    Kind.ANNOTATIONS: "boxes or landmarks are missing or do not fit: delete them and run the command again",
    Kind.BACKEND: "the downloader does not understand the site: update yt-dlp, install deno",
    Kind.CRASHED: "an error of ours or of a library: please report it",
}


class Failure(Exception):
    """Something could not be had.

    Args:
        kind: for counting and for whether to try again.
        message: a sentence for the report.
        n_bytes: what was transferred before it failed.
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


#: What a disk, and the system's limits, say of files; other errors of the system are of the connection.
_OF_THE_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE},
)


def is_of_the_disk(error: OSError) -> bool:
    """Whether an error says that files cannot be written, which no other video would change."""
    return error.errno in _OF_THE_DISK and not isinstance(error, ssl.SSLError)  # whose numbers are OpenSSL's


def kind_of_status(status: int) -> Kind:
    """What an HTTP status means for who asks for a file (RFC 9110, RFC 6585, RFC 7725)."""
    known = {401: Kind.LOGIN, 404: Kind.REMOVED, 410: Kind.REMOVED, 429: Kind.BLOCKED, 451: Kind.REGION}
    if status in known:
        return known[status]
    # A video site's 403 is an address that has run out, or a client that it mistrusts.
    return Kind.BLOCKED if status == 403 else Kind.NETWORK


#: What yt-dlp, pytube and YouTube say (in lower case), by what it means; the first kind that is found decides.
_SAYINGS: dict[Kind, str] = {
    Kind.BLOCKED: "not a bot|captcha|too many requests|rate-limited|try again later",
    Kind.PRIVATE: "private video|video is private|is a private",
    Kind.REGION: "in your country|your location|geo.restrict|your region|in your jurisdiction",
    Kind.LOGIN: "confirm your age|age.restricted|inappropriate|members.only|join this channel|sign in|login required"
    "|registered users|requires payment|purchase",
    Kind.REMOVED: "video unavailable|video is (unavailable|not available)|has been removed|been terminated|deleted"
    "|no longer available|does not exist|removed by the uploader|copyright|account associated|incomplete youtube id"
    "|is unavailable",
    Kind.NO_STREAM: "unsupported url|no video formats|requested format is not available|drm|live event|premieres in"
    "|streaming live",
    Kind.NETWORK: "connect|timed out|timeout|temporary failure|name resolution|ssl|bytes read|more expected"
    "|unable to download|giving up|urlopen error|proxy|incomplete",
}


def kind_of_message(message: str) -> Kind:
    """What a downloader's error message means. What is not understood is :attr:`Kind.BACKEND`."""
    found = (kind for kind, sayings in _SAYINGS.items() if re.search(sayings, message.lower()))
    return next(found, Kind.BACKEND)
