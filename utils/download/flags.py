"""The flags that all download commands share."""

import argparse
import io
import re
from contextlib import redirect_stderr
from pathlib import Path

from ldeq import InputError
from ldeq.command_line import MOST_SECONDS, ArgumentParser, at_least, number_within
from ldeq.fetch import Connection, RetryPolicy, check_address

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")

#: Bytes a second, above what any connection has.
_FASTEST = 2.0**40


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
    parser.add_argument(
        "--sleep", type=number_within(0, MOST_SECONDS), default=0.0, metavar="SECONDS", help="pause before each video"
    )
    parser.add_argument(
        "--timeout",
        type=number_within(0, MOST_SECONDS),
        default=20.0,
        metavar="SECONDS",
        help="without an answer, after which a connection has failed",
    )
    parser.add_argument(
        "--retries", type=at_least(0, 1000), default=3, help="further attempts after a failure that may be transient"
    )
    parser.add_argument(
        "--retry_delay",
        type=number_within(0, MOST_SECONDS),
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


def _rate(word: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", word)
    rate = float(match[1]) * 1024.0 ** " kmg".index(match[2].lower() or " ") if match else 0.0
    if not 1 <= rate <= _FASTEST:
        raise argparse.ArgumentTypeError(f"{word!r} is no rate, as 500K or 2M")
    return rate
