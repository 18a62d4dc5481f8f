"""/metrics, /livez and /readyz over HTTP, served by a thread of its own.

So they answer, with the truth, while the event loop is blocked.
"""

import asyncio
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from typing_extensions import override

from duly.clock import Clock, SystemClock
from duly.errors import ConfigError
from duly.runtime.settings import MetricsSettings

_STALLED_AFTER = 30.0
_PULSE_EVERY = 1.0
_REQUEST_TIMEOUT = 5.0
_TEXT = "text/plain; charset=utf-8"

Answer = tuple[HTTPStatus, str, bytes]


class Probes:
    """The probes of one process; use it as an async context manager in the loop it watches.

    Args:
        settings: Where to listen; port 0 takes a free one, see `port`.
        registry: What /metrics shows.
        ready: Called in a thread; returns None when ready, else the reason why not.
        clock: For the loop's pulse.

    `/livez` asks nothing but whether the loop still turns: a broker or a database that is away
    is no reason to restart this process.
    """

    def __init__(
        self,
        settings: MetricsSettings,
        registry: CollectorRegistry,
        *,
        ready: Callable[[], str | None],
        clock: Clock | None = None,
    ) -> None:
        self._settings, self._registry, self._ready = settings, registry, ready
        self._clock = clock or SystemClock()
        self._turned = self._clock.monotonic()
        self._server: ThreadingHTTPServer | None = None
        self._pulse: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; 0 when off."""
        return int(self._server.server_address[1]) if self._server else 0

    async def __aenter__(self) -> Self:
        """Start to serve.

        Raises:
            ConfigError: The port is taken, or not ours to use.
        """
        if self._settings.enabled:
            host, port = self._settings.host, self._settings.port
            try:
                self._server = _Server((host, port), _handler(self._answer))
            except OSError as error:
                raise ConfigError(
                    "metrics.port",
                    f"{host}:{port} can not be listened on: {error.strerror}",
                    remedy="choose another port, or 0 for a free one",
                ) from None
            threading.Thread(target=self._server.serve_forever, name="probes", daemon=True).start()
        self._pulse = asyncio.get_running_loop().create_task(self._turn())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop to serve."""
        if self._pulse is not None:
            self._pulse.cancel()
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()

    async def _turn(self) -> None:
        while True:
            self._turned = self._clock.monotonic()
            await asyncio.sleep(_PULSE_EVERY)

    def _answer(self, path: str) -> Answer:
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/livez":
            return self._live()
        if path == "/readyz":
            reason = self._ready()
            if reason is None:
                return HTTPStatus.OK, _TEXT, b"ready\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"not ready: {reason}\n".encode()
        return HTTPStatus.NOT_FOUND, _TEXT, b"not found: /metrics, /livez and /readyz are here\n"

    def _live(self) -> Answer:
        stalled = self._clock.monotonic() - self._turned
        if stalled < _STALLED_AFTER:
            return HTTPStatus.OK, _TEXT, b"alive\n"
        message = f"the event loop has not turned for {stalled:.0f} s\n"
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, message.encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""


def _handler(answer: Callable[[str], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_TIMEOUT
        server_version = "duly"
        sys_version = ""

        def do_GET(self) -> None:
            self._send(with_body=True)

        def do_HEAD(self) -> None:
            self._send(with_body=False)

        def _send(self, *, with_body: bool) -> None:
            status, content_type, body = answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Probes are asked every few seconds: no line each."""

    return Handler
