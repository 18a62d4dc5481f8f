"""What the monitor tells machines: metrics of its own, and probes.

The metrics of the queues come from the scheduler, which exports each once and also where no
monitor runs.
"""

from collections.abc import Callable

from prometheus_client import Counter, Gauge
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly.errors import BrokerDownError
from duly.runtime.metrics import new_registry


class Vitals:
    """The endpoints for machines: metrics and probes. None of them shows a payload.

    Args:
        inspector: Reads the broker.
        live: None, or why this process has to be restarted.
    """

    def __init__(self, inspector: Inspector, live: Callable[[], str | None]) -> None:
        self._inspector, self._live = inspector, live
        self.registry = new_registry("monitor")
        self._up = Gauge(
            "duly_monitor_broker_up",
            "1 when the broker answered this scrape",
            registry=self.registry,
        )
        self.unread = Counter(
            "duly_monitor_unread_connections_total",
            "Connections that were ended because their clients read nothing",
            registry=self.registry,
        )

    async def metrics(self, request: Request) -> Response:
        """Answer a scrape; the broker is asked for no more than an answer."""
        try:
            await self._inspector.ping()
        except BrokerDownError:
            self._up.set(0)
        else:
            self._up.set(1)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"Content-Type": content_type})

    async def livez(self, _request: Request) -> Response:
        """Answer whether this process works; the broker is not asked."""
        reason = self._live()
        if reason is not None:
            return Response(f"{reason}\n", 503, media_type="text/plain")
        return Response("ok\n", media_type="text/plain")

    async def readyz(self, _request: Request) -> Response:
        """Answer whether the broker answers."""
        try:
            await self._inspector.ping()
        except BrokerDownError:
            return Response("broker unreachable\n", 503, media_type="text/plain")
        return Response("ok\n", media_type="text/plain")
