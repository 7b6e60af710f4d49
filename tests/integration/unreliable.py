"""A real HTTP server in front of another that passes everything on, except where a test wants trouble."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asks for.

    Attributes:
        method: GET, HEAD, PUT, ...
        path: /BUCKET/KEY, decoded.
        query: names and first values.
    """

    method: str
    path: str
    query: dict[str, str]


@dataclass(frozen=True)
class Trouble:
    """What happens to a request.

    Attributes:
        status: answered with this error, without asking the server; 0: passed on.
        delay: seconds before the answer.
        kept: share of the answer's body that is sent before the connection is cut; 1: all of it, and it is not cut.
        silence: seconds between that share and the cut, with the connection open.
        unheard: the server does what was asked, and the connection is cut instead of an answer.
    """

    status: int = 0
    delay: float = 0.0
    kept: float = 1.0
    silence: float = 0.0
    unheard: bool = False


class UnreliableServer(ThreadingHTTPServer):
    """Passes requests on to `http://127.0.0.1:PORT`, unchanged, so that signatures stay right.

    Attributes:
        trouble: asked for each request, on any thread; None: nothing happens to it.
        seen: all requests so far.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.seen: list[Request] = []
        self.trouble: Callable[[Request], Trouble | None] = lambda request: None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def calm(self) -> None:
        """No trouble any more."""
        self.trouble = lambda request: None
        self.seen.clear()


@contextmanager
def unreliable(port: int) -> Iterator[UnreliableServer]:
    """One that runs for the length of a block."""
    with UnreliableServer(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: UnreliableServer

    def _serve(self) -> None:
        body = self._body()
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        request = Request(self.command, unquote(parts.path), query)
        self.server.seen.append(request)
        trouble = self.server.trouble(request) or Trouble()
        time.sleep(trouble.delay)
        if trouble.status:
            self._answer(trouble.status, [], b"")
            return
        status, headers, content = self._ask(body)
        if trouble.unheard:
            self.close_connection = True
            return
        self._answer(status, headers, content, trouble.kept, trouble.silence)

    def handle_expect_100(self) -> bool:
        """At once: the client sends its body a second later otherwise."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _body(self) -> bytes:
        """As it was sent, chunks in their frames."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body, size = b"", 1
        while size:
            line = self.rfile.readline()
            size = int(line.partition(b";")[0], 16)
            body += line + (self.rfile.read(size + 2) if size else b"")
        while (line := self.rfile.readline()).strip():  # trailers
            body += line
        return body + line

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, kept: float = 1.0, silence: float = 0.0
    ) -> None:
        self.send_response_only(status)
        known = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if "content-length" not in known:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: int(len(content) * kept)])
        self.wfile.flush()
        time.sleep(silence)
        self.close_connection = self.close_connection or kept < 1

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests look at `seen`."""
