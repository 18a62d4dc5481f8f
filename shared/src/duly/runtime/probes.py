"""Serves /metrics, /livez and /readyz from a thread of its own.

The thread has its own event loop, so that it answers while the service's loop is blocked, and
says so. Requests are bounded in size, time and number: nobody keeps a probe from its answer.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from duly.clock import Clock, SystemClock
from duly.errors import ConfigError
from duly.runtime.settings import MetricsSettings

_BEAT_SECONDS: Final = 0.5
_REQUEST_SECONDS: Final = 5.0
_LARGEST_HEAD_BYTES: Final = 16_384
_MOST_CONNECTIONS: Final = 200
_TEXT: Final = "text/plain; charset=utf-8"
_Answer = tuple[HTTPStatus, str, bytes]


class Probes:
    """An HTTP server for the body of an `async with`, on the loop that it watches.

    Args:
        settings: Whether and where to listen; port 0 takes any free one.
        registry: What /metrics shows.
        ready: Called in the server's thread for /readyz: None, or why the service is not ready.
        stall: /livez fails when the loop has not run for so long. It never asks the broker.
        clock: Measures that.

    Raises:
        ConfigError: On entering, when it can not listen there.
    """

    def __init__(
        self,
        settings: MetricsSettings,
        registry: CollectorRegistry,
        *,
        ready: Callable[[], str | None],
        stall: timedelta = timedelta(seconds=15),
        clock: Clock | None = None,
    ) -> None:
        self._settings, self._registry, self._ready = settings, registry, ready
        self._stall, self._clock = stall, clock or SystemClock()
        self._beat_at = self._clock.monotonic()
        self._beating: asyncio.TimerHandle | None = None
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started, self._end = threading.Event(), asyncio.Event()
        self.port = 0
        """Where it listens; 0 when it is switched off."""

    async def __aenter__(self) -> Self:
        if self._settings.enabled:
            self._listener = _listen(self._settings)
            self.port = self._listener.getsockname()[1]
            self._beat()
            self._thread = threading.Thread(target=self._run, name="probes", daemon=True)
            self._thread.start()
            await asyncio.to_thread(self._started.wait, _REQUEST_SECONDS)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        if self._beating:
            self._beating.cancel()
        if self._loop and self._thread:
            self._loop.call_soon_threadsafe(self._end.set)
            await asyncio.to_thread(self._thread.join, 1.0)

    def _beat(self) -> None:
        """Note, from the watched loop itself, that it runs."""
        self._beat_at = self._clock.monotonic()
        self._beating = asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        slots = asyncio.Semaphore(_MOST_CONNECTIONS)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if slots.locked():
                writer.transport.abort()
                return
            async with slots:
                await self._connection(reader, writer)

        server = await asyncio.start_server(
            connected, sock=self._listener, limit=_LARGEST_HEAD_BYTES
        )
        self._started.set()
        await self._end.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; whoever is too slow, too long or gone gets nothing more."""
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                    writer.write(_response("GET", (status, _TEXT, b"too long\n")))
                else:
                    writer.write(self._respond(head))
                await writer.drain()
                # In stages (RFC 9112, section 9.6): to close while something is unread is a
                # reset, which may reach the client before it has read the answer.
                writer.write_eof()
                while await reader.read(_LARGEST_HEAD_BYTES):
                    pass
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    def _respond(self, head: bytes) -> bytes:
        first, *rest = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004
            return _response("GET", (HTTPStatus.BAD_REQUEST, _TEXT, b"this is not HTTP/1.1\n"))
        method, target = words[0], words[1].partition("?")[0]
        headers = (line.partition(":") for line in rest)
        accept = next((value for name, _, value in headers if name.lower() == "accept"), "")
        return _response(method, self._answer(method, target, accept.strip()))

    def _answer(self, method: str, target: str, accept: str) -> _Answer:
        answers: dict[str, Callable[[], _Answer]] = {
            "/metrics": lambda: self._metrics(accept),
            "/livez": self._livez,
            "/readyz": self._readyz,
        }
        answer = answers.get(target)
        if answer is None:
            paths = ", ".join(answers)
            return HTTPStatus.NOT_FOUND, _TEXT, f"there are only {paths}\n".encode()
        if method not in {"GET", "HEAD"}:
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET and HEAD\n"
        try:
            return answer()
        except Exception as error:  # noqa: BLE001 - logged; a probe is always answered
            structlog.get_logger("duly.probes").exception("Probe failed", path=target)
            problem = f"{type(error).__name__}\n".encode()
            return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, problem

    def _metrics(self, accept: str) -> _Answer:
        encode, content_type = choose_encoder(accept)
        return HTTPStatus.OK, content_type, encode(self._registry)

    def _livez(self) -> _Answer:
        silence = self._clock.monotonic() - self._beat_at
        if silence > self._stall.total_seconds():
            return _unavailable(f"the event loop has not run for {silence:.0f} s")
        return HTTPStatus.OK, _TEXT, b"ok\n"

    def _readyz(self) -> _Answer:
        reason = self._ready()
        return (HTTPStatus.OK, _TEXT, b"ok\n") if reason is None else _unavailable(reason)


def _unavailable(reason: str) -> _Answer:
    return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{reason}\n".encode()


def _response(method: str, answer: _Answer) -> bytes:
    status, content_type, body = answer
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if method == "HEAD" else head + body


def _listen(settings: MetricsSettings) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: The host is unknown, or the port is taken or not allowed.
    """
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except socket.gaierror as error:
        raise ConfigError(
            "metrics.host", f"{host!r}: {error.strerror}", remedy="an address of this machine"
        ) from None
    except OSError as error:
        raise ConfigError(
            "metrics.port",
            f"can not listen on {host}:{port}: {error.strerror}",
            remedy="set metrics.port or DULY_METRICS__PORT to a free one; 0 takes any",
        ) from None
