"""Downloads of single files from web addresses and from Google Drive, by gdown."""

import io
import os
import random
import re
import shutil
import time
import urllib.parse
from collections.abc import Collection
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldeq.errors import InputError, reason_of
from ldeq.files import cannot_be_written, written_whole

if TYPE_CHECKING:
    from ldeq.terminal import ProgressBar

_DRIVE_FILE = "https://drive.google.com/uc?id={}"
_DRIVE_ID = re.compile(r"[A-Za-z0-9_-]{20,}")


@dataclass(frozen=True)
class Connection:
    """Settings of HTTP connections. None leaves a setting to the library that downloads."""

    #: Address of a proxy, as ``http://host:port``.
    proxy: str | None = None
    #: Bytes a second.
    limit_rate: float | None = None
    #: Seconds to wait before each video.
    sleep: float = 0.0
    #: Path of a Netscape cookies file.
    cookies: str | None = None
    #: As yt-dlp's flag: BROWSER[+KEYRING][:PROFILE][::CONTAINER].
    cookies_from_browser: str | None = None
    #: Seconds without an answer after which a connection has failed.
    timeout: float = 20.0


@dataclass(frozen=True)
class RetryPolicy:
    """The number of retries of a failed request, and the delays before them (exponential backoff)."""

    #: Attempts after the first one.
    retries: int = 3
    #: Seconds before the first retry; each next one waits twice as long, up to two minutes.
    delay: float = 5.0

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after the failure of ``attempt`` (from 1).

        They are drawn between half the delay and all of it, so that requests which failed together do not come
        together again.
        """
        return min(120.0, self.delay * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)


def check_address(address: str, schemes: Collection[str] = ("http", "https")) -> None:
    """Refuses what is no web address, before a library runs into it.

    Args:
        schemes: those that are taken, in lower case.

    Raises:
        InputError: where the address cannot be one.
    """
    expected = f"expected one as {next(iter(schemes))}://host/path"
    if not address.isprintable() or any(character.isspace() for character in address) or "\\" in address:
        raise InputError(f"{address!r}: is no address (it has spaces or other characters that none has), {expected}")
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port
        host = (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise InputError(f"{address!r}: is no address ({reason_of(error)}), {expected}") from None
    if parts.scheme not in schemes or not host or port == 0:
        raise InputError(f"{address!r}: is no address that can be fetched, {expected}")


def local_path(source: str) -> Path | None:
    """The path of a source that is a file on this machine, else None."""
    path = source.removeprefix("file://")
    return Path(path) if "\0" not in path and os.path.isfile(path) else None


def address_of(source: str) -> str:
    """What a source of :func:`fetch` is called in messages: the web address of one that is to be downloaded, or a path.

    Raises:
        InputError: where it is no source.
    """
    if (path := local_path(source)) is not None:
        return str(path)
    if _DRIVE_ID.fullmatch(source):
        return _DRIVE_FILE.format(source)
    if "://" not in source or source.startswith("file://"):
        raise InputError(f"{source!r}: no such file, expected one, a web address, or the id of a Google Drive file")
    check_address(source)
    return source


def fetch(
    source: str,
    target: Path,
    connection: Connection,
    retry_policy: RetryPolicy,
    bar: "ProgressBar | None" = None,
) -> None:
    """Downloads a file. A transfer that broke off is resumed, in this call and in later ones.

    Args:
        source: a web address, the id of a Google Drive file, or the path of a local file, which is copied.
        target: path of the downloaded file, which appears there only when it is complete.
        bar: shows the number of bytes.

    Raises:
        InputError: where the file cannot be downloaded, or written.
    """
    address = address_of(source)
    if (local := local_path(source)) is not None:
        with written_whole(target) as temporary:
            shutil.copyfile(local, temporary)
        return
    gdown = _gdown()
    import ssl

    import requests
    from gdown.exceptions import DownloadError, FileURLRetrievalError

    target.parent.mkdir(parents=True, exist_ok=True)

    def on_progress(position: int, total: int | None) -> None:
        if bar is not None:
            bar.advance_to(position, total)

    for attempt in range(1, retry_policy.retries + 2):
        try:
            with redirect_stderr(io.StringIO()):  # where gdown would name the proxy, password and all, quiet or not
                gdown.download(
                    address,
                    str(target),
                    quiet=True,
                    proxy=connection.proxy,
                    speed=connection.limit_rate,
                    use_cookies=False,
                    resume=True,
                    timeout=connection.timeout,
                    progress=on_progress,
                )
            return
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            reason = f"HTTP status {status}"
            if status == 416:  # the part on disk is longer than the file: another file's
                remove_parts(target)
            elif status < 500 and status not in (408, 429):
                raise _cannot_be_fetched(address, reason) from None
        except ValueError as error:  # of an address that a server leads to, and that cannot be one
            raise _cannot_be_fetched(address, _short_reason(error)) from None
        except requests.RequestException as error:
            reason = _short_reason(error)
        except FileURLRetrievalError as error:  # not shared, or asked for too often today
            raise _cannot_be_fetched(address, _short_reason(error)) from None
        except DownloadError as error:
            reason = _short_reason(error)
            if "incomplete" not in reason:  # the part on disk is of no use
                remove_parts(target)
        except OSError as error:
            if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError | ssl.SSLError):
                raise cannot_be_written(target, error) from None
            reason = _short_reason(error)
        if attempt <= retry_policy.retries:
            time.sleep(retry_policy.backoff(attempt))
    raise _cannot_be_fetched(address, reason) from None


def remove_parts(target: Path) -> None:
    """Removes the parts that unfinished downloads of ``target`` left beside it."""
    for path in target.parent.glob("*.part"):
        if path.name.startswith(target.name):
            path.unlink(missing_ok=True)


def list_drive_folder(id: str, connection: Connection) -> dict[str, str]:
    """The ids of the files in a shared Google Drive folder, and below it, by their paths.

    Raises:
        InputError: where it cannot be listed.
    """
    gdown = _gdown()
    import requests
    from gdown.exceptions import DownloadError

    address = f"https://drive.google.com/drive/folders/{id}"
    try:
        with redirect_stderr(io.StringIO()):
            files = gdown.download_folder(
                id=id,
                quiet=True,
                proxy=connection.proxy,
                use_cookies=False,
                skip_download=True,
                timeout=connection.timeout,
            )
    except (requests.RequestException, DownloadError) as error:
        raise _cannot_be_fetched(address, _short_reason(error)) from None
    return {file.path: file.id for file in files if not isinstance(file, str)}


def _gdown() -> Any:
    try:
        import gdown
    except ImportError:
        raise InputError("gdown is not installed, expected pip install 'ldeq[download]' for downloads") from None
    return gdown


def _cannot_be_fetched(address: str, reason: str) -> InputError:
    advice = ""
    if "drive.google.com" in address:
        advice = "; Drive refuses files that many ask for: try tomorrow, or download it in a browser"
    return InputError(f"{address}: cannot be fetched ({reason}), expected a file to download{advice}")


def _short_reason(error: Exception) -> str:
    """The innermost cause in the message of a library's error."""
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    text = " ".join(str(error).split())
    text = re.sub(r" (Check FAQ in|The received bytes are kept in) .*", "", text)
    cause = re.search(r"\[Errno -?\d+\] ([^'\")(]+)", text)
    return (cause[1] if cause else text or type(error).__name__).rstrip(".")
