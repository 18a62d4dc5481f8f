"""What a worker holds at the moment of a scrape, as Prometheus metrics."""

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from duly.engine.worker.server import Server

_QUEUE = ("queue",)


class ServerMetrics(Collector):
    """Asks the server at each scrape, from the thread of whoever scrapes.

    Args:
        registry: What /metrics shows.
        server: The worker.
        queues: Those that it serves.
    """

    def __init__(self, registry: CollectorRegistry, server: Server, queues: Iterable[str]) -> None:
        self._server, self._queues = server, tuple(queues)
        registry.register(self)

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        stuck = GaugeMetricFamily(
            "duly_tasks_stuck",
            "Attempts cancelled more than 5 s ago that still run, or whose outcome is refused",
            labels=_QUEUE,
        )
        orphaned = GaugeMetricFamily(
            "duly_tasks_orphaned",
            "Tasks active in this worker's name for more than 15 s without being run",
            labels=_QUEUE,
        )
        unsettled = GaugeMetricFamily(
            "duly_tasks_unsettled",
            "Outcomes of ended attempts that the broker does not have yet",
            labels=_QUEUE,
        )
        for queue in self._queues:
            stuck.add_metric((queue,), self._server.stuck(queue))
            orphaned.add_metric((queue,), self._server.orphaned(queue))
            unsettled.add_metric((queue,), self._server.receiver.unsettled(queue))
        permits = GaugeMetricFamily(
            "duly_permits_in_use",
            "Attempts that run by a permit of their kind's limit",
            labels=("queue", "kind"),
        )
        for both, count in Counter(self._server.receiver.permits()).items():
            permits.add_metric(both, count)
        yield from (stuck, orphaned, unsettled, permits)
