"""Serves /metrics, /livez and /readyz from threads: a blocked service answers, and says so."""

import asyncio
import socket
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
from duly.runtime.metrics import LoopLag
from duly.runtime.probeserver import TEXT, Answer, ProbeServer
from duly.runtime.settings import MetricsSettings
from duly.runtime.supervision import DEFAULT_BOUND

_BEAT_SECONDS: Final = 0.5


class Probes:
    """An HTTP server for the body of an `async with`, on the loop that it watches.

    Args:
        settings: Whether and where to listen; port 0 takes any free one.
        registry: What /metrics shows.
        ready: Called in the server's thread for /readyz: None, or why the service is not ready.
        live: Called there for /livez: None, or why the service has to be restarted. It never asks
            the broker, whose outage restarts nobody.
        stall: /livez also fails when the event loop has not run for this long.
        clock: Measures that.

    Raises:
        ConfigError: On entering, when it cannot listen there.
    """

    def __init__(
        self,
        settings: MetricsSettings,
        registry: CollectorRegistry,
        *,
        ready: Callable[[], str | None],
        live: Callable[[], str | None] = lambda: None,
        stall: timedelta = DEFAULT_BOUND,
        clock: Clock | None = None,
    ) -> None:
        self._settings, self._registry = settings, registry
        self._lag = LoopLag(registry)
        self._ready, self._live = ready, live
        self._stall, self._clock = stall, clock or SystemClock()
        self._beat_at = self._clock.monotonic()
        self._beating: asyncio.TimerHandle | None = None
        self._server: ProbeServer | None = None
        self.port = 0
        """Where it listens; 0 when it is switched off."""

    async def __aenter__(self) -> Self:
        if self._settings.enabled:
            listener = _listen(self._settings)
            self.port = listener.getsockname()[1]
            self._beat()
            self._server = ProbeServer(listener, self._answer)
            self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        if self._beating:
            self._beating.cancel()
        if self._server:
            self._server.stop()

    def _beat(self) -> None:
        """Note, from the watched loop itself, that it runs, and how late."""
        now = self._clock.monotonic()
        if self._beating is not None:
            self._lag.observe(now - self._beat_at - _BEAT_SECONDS)
        self._beat_at = now
        self._beating = asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)

    def _answer(self, path: str, accept: str) -> Answer:
        answers: dict[str, Callable[[], Answer]] = {
            "/metrics": lambda: self._metrics(accept),
            "/livez": self._livez,
            "/readyz": self._readyz,
        }
        answer = answers.get(path)
        if answer is None:
            paths = ", ".join(answers)
            return HTTPStatus.NOT_FOUND, TEXT, f"there are only {paths}\n".encode()
        try:
            return answer()
        except Exception as error:  # noqa: BLE001 - logged; a probe is always answered
            structlog.get_logger("duly.probes").exception("Probe failed", path=path)
            problem = f"{type(error).__name__}\n".encode()
            return HTTPStatus.INTERNAL_SERVER_ERROR, TEXT, problem

    def _metrics(self, accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        return HTTPStatus.OK, content_type, encode(self._registry)

    def _livez(self) -> Answer:
        silence = self._clock.monotonic() - self._beat_at
        if silence > self._stall.total_seconds():
            return _verdict(f"the event loop has not run for {silence:.0f} s")
        return _verdict(self._live())

    def _readyz(self) -> Answer:
        return _verdict(self._ready())


def _verdict(reason: str | None) -> Answer:
    if reason is None:
        return HTTPStatus.OK, TEXT, b"ok\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"{reason}\n".encode()


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
            f"cannot listen on {host}:{port}: {error.strerror}",
            remedy="set metrics.port or DULY_METRICS__PORT to a free one; 0 takes any",
        ) from None
