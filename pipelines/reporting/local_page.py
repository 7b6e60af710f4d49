"""What pages on this machine share: they listen on loopback, answer only requests that name it so (a web site that has
its own name resolve to 127.0.0.1 gets nothing), and take what is sent only from themselves.
"""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.routing import BaseRoute

from pipelines.job import UserError

HOST = "127.0.0.1"


class Refusal(Exception):
    """Why a request was refused: one sentence for who made it, and the HTTP status."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


def headers(pictures: str) -> dict[str, str]:
    """Headers of every answer; `pictures` is where the page may show some from: `data:`, `'self'` or both."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; img-src {pictures}; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def local_app(routes: Sequence[BaseRoute]) -> Starlette:
    """An application that answers only requests in this machine's own name."""
    only_here = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return Starlette(routes=routes, middleware=[only_here])


def listening(port: int) -> socket.socket:
    """A socket that only this machine reaches; raises UserError where the port is taken."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise UserError(f"port: {port} cannot be had ({error.strerror}); choose another --port") from error


def serve(app: Starlette, listener: socket.socket, about: str, shown: bool) -> None:
    """Print the page's address and what it is about, open it in the browser if asked, and serve until interrupted."""
    address = f"http://{HOST}:{listener.getsockname()[1]}"
    print(f"{address}  {about}; Ctrl-C ends it", flush=True)
    if shown:
        webbrowser.open(address)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")).run(sockets=[listener])


def check_origin(request: Request) -> None:
    """Only the page itself may send something.

    Raises:
        Refusal: a page of another site did.
    """
    origin = request.headers.get("origin")
    if origin and origin != f"http://{request.headers['host']}":
        raise Refusal(f"photos and votes are taken only from the page itself, not from {origin}", 403)
