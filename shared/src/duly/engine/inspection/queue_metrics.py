"""The queues and the broker as Prometheus metrics, of the one scheduler that exports them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from duly.clock import Clock, SystemClock
from duly.engine.inspection.exporter import LEASE, Exporter
from duly.engine.inspection.figures import Figures, QueueFigures
from duly.task import TaskState

READ_EVERY: Final = timedelta(seconds=5)
"""How often the figures are read; a scrape shows the last ones and asks nobody."""
_QUEUE: Final = ("queue",)
_Rows = Iterable[tuple[str, QueueFigures]]
_GAUGES: Final[tuple[tuple[str, str, Callable[[QueueFigures], float]], ...]] = (
    (
        "oldest_waiting_seconds",
        "Age of the task that has waited longest; 0 when none waits",
        lambda queue: queue.oldest_waiting_seconds,
    ),
    ("paused", "1 while the queue is paused", lambda queue: int(queue.paused_seconds is not None)),
    ("servers", "Live workers that serve the queue", lambda queue: queue.servers),
    ("concurrency", "Tasks those workers may run at once", lambda queue: queue.concurrency),
    ("unowned", "Active tasks whose worker has no live lease", lambda queue: queue.unowned),
    (
        "outbox",
        "Successors and reports to joins that wait to be relayed to other queues",
        lambda queue: queue.outbox,
    ),
    ("joins", "Tasks that wait for the members of a group", lambda queue: queue.joins),
)
_COUNTERS: Final = {
    "processed": ("processed", "Attempts that ended, failures included"),
    "failed": ("failed", "Attempts that ended in failure"),
    "archived": ("archived", "Tasks that were archived after their last failure"),
    "crashed": ("crashed", "Attempts that ended with the death of their worker"),
    "archive_dropped": (
        "archived_dropped",
        "Archived tasks that were dropped by the archive's bounds",
    ),
    "joins_dropped": ("join_dropped", "Joins that were given up with the tasks that follow them"),
}
"""Metric → (what the scripts count it as, what it means)."""


class QueueMetrics(Collector):
    """Exports what was read last. Nothing while another scheduler exports, or the broker is down.

    Args:
        registry: What /metrics shows.
        limits: Queue → tasks that it may hold.
        clock: Tells how old the figures are.
    """

    def __init__(
        self, registry: CollectorRegistry, limits: Mapping[str, int], clock: Clock | None = None
    ) -> None:
        self._limits, self._clock = limits, clock or SystemClock()
        self._figures: Figures | None = None
        self._read_at, self._took = 0.0, 0.0
        self._told: Mapping[str, str] = {}
        self._log = structlog.get_logger("duly.engine")
        registry.register(self)

    async def run_once(self, exporter: Exporter) -> None:
        """Read the figures, if this scheduler is the one that exports them.

        Raises:
            BrokerError: The broker does not answer; what was read before is shown for one lease.
        """
        began = self._clock.monotonic()
        self._figures = await exporter.read()
        self._read_at = self._clock.monotonic()
        self._took = self._read_at - began
        if self._figures is not None:
            self._tell(self._figures.unreadable)

    def _tell(self, unreadable: Mapping[str, str]) -> None:
        """Log once which queue has what is not duly's, and once that it has it no more."""
        for queue, error in unreadable.items():
            if self._told.get(queue) != error:
                self._log.error("Queue unreadable", queue=queue, error=error)
        for queue in self._told.keys() - unreadable.keys():
            self._log.info("Queue readable again", queue=queue)
        self._told = unreadable

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called in the thread of whoever scrapes."""
        figures = self._figures
        if self._clock.monotonic() - self._read_at > LEASE.total_seconds():
            # Another scheduler may have the lease by now, and old figures would raise no alarm.
            figures = None
        exports = GaugeMetricFamily(
            "duly_queues_exported", "1 while this scheduler exports the queues, else 0"
        )
        exports.add_metric((), int(figures is not None))
        yield exports
        if figures is None:
            return
        yield _one("duly_queues_read_seconds", "How long the last reading took", self._took)
        yield from _broker(figures)
        yield from self._queues(figures)

    def _queues(self, figures: Figures) -> Iterator[Metric]:
        readable = GaugeMetricFamily(
            "duly_queue_readable",
            "0 when a key of the queue holds what is not duly's; what cannot be read is left out",
            labels=_QUEUE,
        )
        for queue in sorted(figures.queues.keys() | figures.unreadable.keys()):
            readable.add_metric((queue,), int(queue not in figures.unreadable))
        limit = GaugeMetricFamily(
            "duly_queue_max_length",
            "Waiting and active tasks that the queue may hold, as configured",
            labels=_QUEUE,
        )
        for queue, most in self._limits.items():
            limit.add_metric((queue,), most)
        yield from (readable, limit, _tasks(figures.queues.items()))
        for name, meaning, value in _GAUGES:
            gauge = GaugeMetricFamily(f"duly_queue_{name}", meaning, labels=_QUEUE)
            for queue, found in figures.queues.items():
                gauge.add_metric((queue,), value(found))
            yield gauge
        yield _overdue(figures.queues.items())
        for name, (outcome, meaning) in _COUNTERS.items():
            counter = CounterMetricFamily(f"duly_queue_{name}", meaning, labels=_QUEUE)
            for queue, found in figures.queues.items():
                counter.add_metric((queue,), found.outcomes.get(outcome, 0))
            yield counter


def _tasks(queues: _Rows) -> Metric:
    tasks = GaugeMetricFamily(
        "duly_queue_tasks", "Tasks in the queue, by state", labels=("queue", "state")
    )
    for queue, found in queues:
        for state in TaskState:
            tasks.add_metric((queue, state.value), found.tasks.get(state, 0))
    return tasks


def _overdue(queues: _Rows) -> Metric:
    overdue = GaugeMetricFamily(
        "duly_queue_overdue_seconds",
        "How long the first task or group in a state has been due; 0 when none is",
        labels=("queue", "state"),
    )
    for queue, found in queues:
        for state, seconds in found.overdue_seconds.items():
            overdue.add_metric((queue, state.value), seconds)
    return overdue


def _broker(figures: Figures) -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        "duly_broker_memory_bytes", "Memory that a node of the broker uses", labels=("node",)
    )
    limit = GaugeMetricFamily(
        "duly_broker_memory_limit_bytes", "Its maxmemory; 0: no limit", labels=("node",)
    )
    clients = GaugeMetricFamily(
        "duly_broker_clients", "Connections to a node of the broker", labels=("node",)
    )
    for node in figures.nodes:
        if node.memory_bytes is not None:
            memory.add_metric((node.address,), node.memory_bytes)
            limit.add_metric((node.address,), node.memory_limit_bytes or 0)
        if node.clients is not None:
            clients.add_metric((node.address,), node.clients)
    yield from (memory, limit, clients)


def _one(name: str, meaning: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, meaning)
    gauge.add_metric((), value)
    return gauge
