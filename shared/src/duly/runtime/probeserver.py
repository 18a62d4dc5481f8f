"""A small HTTP server on the standard library's, bounded in size, time and connections.

A thread answers each request, so that nobody waits for a slow client, and none of them needs the
service's event loop. `prometheus_client` imports `http.server` anyway.
"""

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from time import monotonic
from typing import Any, Final

from typing_extensions import override

TEXT: Final = "text/plain; charset=utf-8"
_REQUEST_SECONDS: Final = 5.0
_MOST_CONNECTIONS: Final = 64
_PART_BYTES: Final = 16_384

Answer = tuple[HTTPStatus, str, bytes]
"""Status, content type and body."""
Answering = Callable[[str, str], Answer]
"""Answers a GET of (path without its query, Accept header); called in a thread of its own."""


class ProbeServer(socketserver.ThreadingTCPServer):
    """Serves GET and HEAD on a listening socket, from `start` to `stop`.

    A connection has five seconds in all; the 65th closes the oldest one. So whoever connects and
    is silent, or sends a byte now and then, keeps nobody else from an answer.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, answering: Answering) -> None:
        super().__init__(listener.getsockname(), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket, self.answering = listener, answering
        self._since: dict[socket.socket, float] = {}

    def start(self) -> None:
        """Answer from now on, in threads."""
        threading.Thread(target=self.serve_forever, name="probes", daemon=True).start()

    def stop(self) -> None:
        """Close the port at once; what is being answered may still arrive."""
        # `shutdown` returns when the serving thread has noticed it; the next line wakes that one.
        threading.Thread(target=self.shutdown, name="probes' end", daemon=True).start()
        _cut(self.socket)
        self.server_close()

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._since) >= _MOST_CONNECTIONS:
            _cut(min(self._since, key=self._since.__getitem__))
        self._since[request] = monotonic()
        super().process_request(request, client_address)

    @override
    def service_actions(self) -> None:
        late = monotonic() - _REQUEST_SECONDS
        for request, since in self._since.copy().items():
            if since < late:
                _cut(request)

    @override
    def shutdown_request(self, request: Any) -> None:
        # In stages (RFC 9112, section 9.6): to close while something is unread is a reset, which
        # may reach the client before it has read the answer.
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            while request.recv(_PART_BYTES):
                pass
        self._since.pop(request, None)
        self.close_request(request)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: the client is gone or was cut off."""


class _Request(BaseHTTPRequestHandler):
    timeout = _REQUEST_SECONDS
    protocol_version = default_request_version = "HTTP/1.1"
    error_message_format = "%(message)s\n"
    error_content_type = TEXT
    server: ProbeServer

    def do_GET(self) -> None:
        answering = self.server.answering
        status, content_type, body = answering(
            self.path.partition("?")[0], self.headers.get("Accept", "")
        )
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self) -> None:
        self.send_response_only(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Connection", "close")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815
    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815

    @override
    def version_string(self) -> str:
        return "duly"

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing: a probe is no event."""


def _cut(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
