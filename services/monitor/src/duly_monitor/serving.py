"""The HTTP server: its socket, and a stop within seconds even while pages are open."""

import asyncio
import errno
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

import structlog
import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from duly.errors import ConfigError

GRACE_SECONDS = 2
"""How long requests may go on after the signal to stop."""
PATIENCE_SECONDS = 30
"""How long a sender may take for one request, so that half of one holds no connection for ever."""
UNREAD_SECONDS = 30
"""How long a client may take nothing of what it asked for; then its connection ends (Linux)."""
_UNREAD_BYTES = 128 * 1024
"""What the kernel keeps for a client that takes nothing. By itself it would keep megabytes."""
_BACKLOG = 512


class Impatient(H11Protocol):
    """HTTP that waits for ever neither for the rest of a request nor for a reader."""

    patience = PATIENCE_SECONDS
    unread: Callable[[], None] = staticmethod(lambda: None)
    """Called when a connection ends since its client has stopped reading."""
    _waiting: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting = self.loop.call_later(self.patience, self._give_up)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # uvicorn itself closes connections that are idle between two requests.
        if repr(self.conn.their_state) not in ("IDLE", "SEND_BODY"):
            self._stop_waiting()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self.patience, self._give_up)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if isinstance(exc, TimeoutError):
            self.unread()
            structlog.get_logger("duly.monitor").warning(
                "Connection dropped, its client reads nothing"
            )
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class _Web(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal."""

    @override
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        ConfigError: The port is in use or not permitted, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                "async.monitor.port",
                f"port {port} on {host} is in use",
                remedy="stop the process that uses it, or set another port",
            ) from error
        path = "async.monitor.port" if error.errno == errno.EACCES else "monitor.host"
        reason = error.strerror or str(error)
        raise ConfigError(path, f"cannot listen on {host} port {port}: {reason}") from error
    # Every accepted connection inherits these. Else a page that is open and not read, in a browser
    # that sleeps, would keep its stream and what was sent into it, for as long as it likes.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
    if sys.platform == "linux":
        unread_ms = UNREAD_SECONDS * 1000
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_ms)
    return listener


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    stop: asyncio.Event,
    closing: Callable[[], Awaitable[None]],
    unread: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop` is set.

    Args:
        app: What is served.
        listener: Where.
        stop: Ends it.
        closing: Called then; ends what would not end by itself.
        unread: Called for each connection that ends since its client has stopped reading.
    """
    protocol = type("Protocol", (Impatient,), {"unread": staticmethod(unread)})
    config = uvicorn.Config(
        app,
        http=protocol,
        access_log=False,
        lifespan="on",
        log_config=None,
        # The peer's address decides in local mode: nobody may claim another one.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ws="none",
    )
    web = _Web(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(web.serve(sockets=[listener]), name="http")
        await stop.wait()
        await closing()
        web.should_exit = True
