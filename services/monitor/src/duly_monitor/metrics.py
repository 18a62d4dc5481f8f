"""The queues as Prometheus metrics, read from the inspector at each scrape."""

from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from duly.engine.inspector import Inspector
from duly.engine.reports import QueueReport
from duly.errors import BrokerDownError
from duly.task import TaskState

_QUEUE = ("queue",)


class QueueCollector(Collector):
    """Says what the reports say; it lives for one scrape."""

    def __init__(self, reports: Iterable[QueueReport], *, up: bool) -> None:
        self._reports, self._up = tuple(reports), up

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield every metric of every queue."""
        up = GaugeMetricFamily("duly_monitor_broker_up", "1 when the broker answered this scrape")
        up.add_metric((), int(self._up))
        yield up
        if not self._up:
            return
        yield self._tasks()
        yield from self._gauges()
        yield from self._counters()

    def _tasks(self) -> Metric:
        tasks = GaugeMetricFamily(
            "duly_queue_tasks", "Tasks in the queue, by state", labels=("queue", "state")
        )
        for report in self._reports:
            for state in TaskState:
                tasks.add_metric((report.name, state.value), getattr(report, state.value))
        return tasks

    def _gauges(self) -> Iterator[Metric]:
        oldest = GaugeMetricFamily(
            "duly_queue_oldest_waiting_seconds",
            "Age of the task that has waited longest; 0 when none waits",
            labels=_QUEUE,
        )
        paused = GaugeMetricFamily(
            "duly_queue_paused", "1 while the queue is paused", labels=_QUEUE
        )
        servers = GaugeMetricFamily(
            "duly_queue_servers", "Live workers that serve the queue", labels=_QUEUE
        )
        concurrency = GaugeMetricFamily(
            "duly_queue_concurrency", "Tasks those workers may run at once", labels=_QUEUE
        )
        for report in self._reports:
            name, age = (report.name,), report.oldest_waiting
            oldest.add_metric(name, age.total_seconds() if age else 0.0)
            paused.add_metric(name, int(report.paused_since is not None))
            servers.add_metric(name, report.servers)
            concurrency.add_metric(name, report.concurrency)
        yield from (oldest, paused, servers, concurrency)

    def _counters(self) -> Iterator[Metric]:
        processed = CounterMetricFamily(
            "duly_queue_processed", "Attempts that ended, failures included", labels=_QUEUE
        )
        failed = CounterMetricFamily(
            "duly_queue_failed", "Attempts that ended in failure", labels=_QUEUE
        )
        dropped = CounterMetricFamily(
            "duly_queue_archive_dropped",
            "Archived tasks that were dropped by the archive's bounds",
            labels=_QUEUE,
        )
        for report in self._reports:
            dropped.add_metric((report.name,), report.archive_dropped)
            processed.add_metric((report.name,), report.processed)
            failed.add_metric((report.name,), report.failed)
        yield from (processed, failed, dropped)


class Vitals:
    """The endpoints for machines: metrics and probes. None of them tells a payload."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    async def metrics(self, _request: Request) -> Response:
        """Answer a scrape; with the broker away only that it is."""
        try:
            collector = QueueCollector(await self._inspector.queues(), up=True)
        except BrokerDownError:
            collector = QueueCollector((), up=False)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def livez(self, _request: Request) -> Response:
        """Answer that this process runs."""
        return Response("ok\n", media_type="text/plain")

    async def readyz(self, _request: Request) -> Response:
        """Answer whether the broker answers."""
        try:
            await self._inspector.ping()
        except BrokerDownError:
            return Response("the broker does not answer\n", 503, media_type="text/plain")
        return Response("ok\n", media_type="text/plain")
