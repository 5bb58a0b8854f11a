"""A web server on the loopback interface that serves what a test gives it, well or badly, and counts requests.

It is a proxy as well: with ``--proxy`` and a certificate that clients are told to trust, it answers for any host, and
libraries run with their real addresses.
"""

import re
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Answer:
    """The response that is served at a path."""

    body: bytes = b""
    kind: str = "application/octet-stream"
    status: int = 200
    #: Break the connection after so many bytes of the body (each time, or the first ``n_breaks`` times).
    break_after: int | None = None
    n_breaks: int = 10**9
    #: Seconds between pieces of 1 kB.
    slowness: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Serves :attr:`answers` by path (with its query); :attr:`fallback` makes an answer for any other.

    As a proxy of HTTPS its paths are ``//host/path``.

    Args:
        certificate: key and certificate in one file, for being a proxy.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.fallback: Callable[[str], Answer | None] = lambda path: None
        self.requests: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.cookies: set[str] = set()
        self.stopping = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            host = ""

            def do_CONNECT(self) -> None:
                assert certificate is not None
                self.send_response(200)
                self.end_headers()
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                self.host = "//" + self.path.removesuffix(":443")
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb")
                self.wfile = self.connection.makefile("wb", 0)
                self.close_connection = False

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                server.answer(self, body=True)

            def do_HEAD(self) -> None:
                server.answer(self, body=False)

            def do_GET(self) -> None:
                server.answer(self, body=True)

            def log_message(self, *words: object) -> None: ...

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *words: object) -> None: ...  # clients that are killed

        self._httpd = Quiet(("127.0.0.1", 0), Handler)
        self._httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._httpd.server_port}"
        threading.Thread(target=self._httpd.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        path = getattr(request, "host", "") + request.path.removeprefix(self.url)
        self.requests[path] += 1
        if "Cookie" in request.headers:
            self.cookies.add(request.headers["Cookie"])
        answer = self.answers.get(path) or self.fallback(path) or Answer(b"not here", status=404)
        content, status, headers = answer.body, answer.status, dict(answer.headers)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if asked and status == 200:
            start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
            self.ranges.append(f"{path} {asked[0]}")
            if start >= len(content):
                content, status = b"", 416
            else:
                headers["Content-Range"] = f"bytes {start}-{end}/{len(answer.body)}"
                content, status = content[start : end + 1], 206
        request.send_response(status)
        request.send_header("Content-Type", answer.kind)
        request.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            self._send(request, answer, content)

    def _send(self, request: BaseHTTPRequestHandler, answer: Answer, content: bytes) -> None:
        breaks = answer.break_after is not None and answer.n_breaks > 0
        if breaks:
            answer.n_breaks -= 1
            content = content[: answer.break_after]
        try:
            if answer.slowness:
                for start in range(0, len(content), 1024):
                    request.wfile.write(content[start : start + 1024])
                    request.wfile.flush()
                    if self.stopping.wait(answer.slowness):
                        return
            else:
                request.wfile.write(content)
        except OSError:
            return  # the client has gone
        if breaks:
            request.close_connection = True

    def close(self) -> None:
        self.stopping.set()
        self._httpd.shutdown()
        self._httpd.server_close()


def make_certificate(folder: Path, hosts: list[str]) -> Path:
    """A key and a certificate for these hosts, signed by itself."""
    path = folder / "certificate.pem"
    names = ",".join(f"DNS:{host}" for host in hosts)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=loopback"]
    subprocess.run(
        [*command, "-addext", f"subjectAltName={names}", "-keyout", folder / "key.pem", "-out", path],
        check=True,
        capture_output=True,
    )
    path.write_bytes((folder / "key.pem").read_bytes() + path.read_bytes())
    return path


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    server = Server(certificate)
    try:
        yield server
    finally:
        server.close()
