"""The HTTP server: its socket, and an end within seconds even while pages are open."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from duly.errors import ConfigError

GRACE_SECONDS = 2
"""How long requests may go on after the signal to stop."""
_BACKLOG = 512


class _Web(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal."""

    @override
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        ConfigError: The port is taken or not ours to take, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                "async.monitor.port",
                f"port {port} on {host} is taken",
                remedy="stop what listens there, or set another port",
            ) from error
        path = "async.monitor.port" if error.errno == errno.EACCES else "monitor.host"
        reason = error.strerror or str(error)
        raise ConfigError(path, f"can not listen on {host} port {port}: {reason}") from error


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    stop: asyncio.Event,
    closing: Callable[[], Awaitable[None]],
) -> None:
    """Serve until `stop` is set; `closing` then ends what would not end by itself."""
    config = uvicorn.Config(
        app,
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
