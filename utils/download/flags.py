"""The flags that all download commands share."""

import argparse
import io
import math
import re
from contextlib import redirect_stderr
from pathlib import Path

from ldeq import InputError
from ldeq.command_line import ArgumentParser, at_least
from ldeq.fetch import Connection, RetryPolicy, check_address

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def add_connection_flags(parser: ArgumentParser) -> None:
    """Adds the flags that :func:`connection_of` and :func:`retry_policy_of` read."""
    parser.add_argument("--cookies", metavar="FILE", help="Netscape cookies file for yt-dlp")
    parser.add_argument(
        "--cookies-from-browser",
        "--cookies_from_browser",
        metavar="BROWSER",
        help="take cookies from this browser, for yt-dlp: BROWSER[+KEYRING][:PROFILE][::CONTAINER]",
    )
    parser.add_argument("--proxy", metavar="URL", help="for all connections, as http://host:port or socks5://host:port")
    parser.add_argument(
        "--limit-rate", "--limit_rate", type=_rate, metavar="RATE", help="bytes a second of each process, as 500K or 2M"
    )
    parser.add_argument("--sleep", type=_seconds, default=0.0, metavar="SECONDS", help="pause before each video")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=20.0,
        metavar="SECONDS",
        help="without an answer, after which a connection has failed",
    )
    parser.add_argument(
        "--retries", type=at_least(0), default=3, help="further attempts after a failure that may be transient"
    )
    parser.add_argument(
        "--retry_delay",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="before the first retry; twice as long before each next one",
    )


def connection_of(flags: argparse.Namespace) -> Connection:
    """The settings of connections that the flags ask for.

    Raises:
        InputError: where the cookies, the browser or the proxy are none.
    """
    if flags.cookies is not None:
        _check_cookies(Path(flags.cookies))
    if flags.cookies_from_browser is not None:
        from utils.download.yt_dlp_backend import parse_browser

        try:
            parse_browser(flags.cookies_from_browser)
        except ValueError as error:
            raise InputError(f"--cookies-from-browser: {error}") from None
    if flags.proxy is not None:
        try:
            check_address(flags.proxy, _PROXY_SCHEMES)
        except InputError as error:
            raise InputError(f"--proxy: {error}") from None
    return Connection(
        proxy=flags.proxy,
        limit_rate=flags.limit_rate,
        sleep=flags.sleep,
        cookies=str(Path(flags.cookies).absolute()) if flags.cookies else None,
        cookies_from_browser=flags.cookies_from_browser,
        timeout=flags.timeout or 20.0,
    )


def _check_cookies(path: Path) -> None:
    """Refuses a cookies file that no download could use; yt-dlp itself passes over lines that it cannot read."""
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected cookies in Netscape's format")
    from http.cookiejar import LoadError

    from yt_dlp.cookies import YoutubeDLCookieJar

    jar = YoutubeDLCookieJar(str(path))
    try:
        with redirect_stderr(io.StringIO()):
            jar.load()
    except (LoadError, OSError, ValueError) as error:
        reason = " ".join(str(error).split("See ")[0].split()).rstrip(".")
        raise InputError(f"{path}: cannot be read ({reason}), expected cookies in Netscape's format") from None
    if not len(jar):
        raise InputError(f"{path}: holds no cookies, expected some in Netscape's format")


def retry_policy_of(flags: argparse.Namespace) -> RetryPolicy:
    """The retries that the flags ask for."""
    return RetryPolicy(flags.retries, flags.retry_delay)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of seconds")
    return seconds


def _rate(word: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", word)
    if not match or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{word!r} is no rate, as 500K or 2M")
    return float(match[1]) * 1024.0 ** " kmg".index(match[2].lower() or " ")
