"""The metrics that workers and schedulers export. `docs/telemetry.md` lists every one of them.

A registry is made once by a composition root and handed down; there is no global one. The
children of labels are kept by their labels: looking one up costs a dictionary access.

Counters are born at zero with all the labels that are known at the start: `increase()` sees no
event of a series that begins with it. Labels whose values come from applications are bounded.
"""

import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from duly.runtime import logs

SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
"""Upper bounds of histogram buckets, from a millisecond to five minutes."""
MOST_VALUES: Final = 100
"""Values that a label may have in one process, if they come from an application."""
OTHER: Final = "other"
"""The label of all beyond them."""
CRASHES: Final = "crashes"
QUARANTINE_REASONS: Final = ("unreadable", "unknown_kind", CRASHES)
_TICKS: Final = ("enqueued", "skipped", "paused", "missed", "caught_up")
_LOOPS: Final = (
    *("tick", "announce", "entries", "ping", "read", "look"),
    *("promoter", "reaper", "outbox", "janitor"),
)
"""The background loops of a scheduler, without the queue or entry that each is for."""


def new_registry(service: str) -> CollectorRegistry:
    """Return a registry that knows the process and `duly_build_info`."""
    # A second series for each counter, saying when it was made, is of no use to anybody here.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Gauge(
        "duly_build_info",
        "Always 1; its labels say what runs",
        ("service", "version", "python"),
        registry=registry,
    )
    build.labels(service, version("duly"), platform.python_version()).set(1)
    registry.register(LogCollector())
    return registry


class LogCollector(Collector):
    """What became of the lines of this process's log; it reads that when it is scraped."""

    @override
    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield the metrics."""
        output = logs.current()
        lines, errors = (output.loss.lines, output.loss.errors) if output else (0, 0)
        yield CounterMetricFamily(
            "duly_log_lines_dropped",
            "Log lines that were dropped: nobody read them, or they could not be written",
            value=lines,
        )
        yield CounterMetricFamily(
            "duly_log_write_errors",
            "Writes of the log that failed, and were repeated",
            value=errors,
        )
        yield GaugeMetricFamily(
            "duly_log_buffer_bytes",
            "Log lines that wait until they are read",
            value=output.held_bytes if output else 0,
        )


def quarantined_counter(registry: CollectorRegistry) -> Counter:
    """Return the counter of quarantined tasks; one a registry."""
    return Counter(
        "duly_tasks_quarantined",
        "Tasks put aside: unreadable, of an unknown kind, or after crashes of their workers",
        ("queue", "reason"),
        registry=registry,
    )


class Bounded:
    """The values of one label: the first hundred as they are, `other` for all that come later."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return the label of a value."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


class LoopLag:
    """How late the event loop runs what is due: while a handler blocks it, everything waits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Histogram(
            "duly_event_loop_lag_seconds",
            "How late the event loop was, asked twice a second",
            buckets=SECONDS,
            registry=registry,
        )

    def observe(self, seconds: float) -> None:
        """Count one look."""
        self._lag.observe(max(0.0, seconds))


class _ServiceMetrics:
    """What workers and schedulers have in common.

    Args:
        registry: Where they are registered.
        queues: The queues that are known at the start.
    """

    def __init__(self, registry: CollectorRegistry, queues: Iterable[str] = ()) -> None:
        self.broker_errors = Counter(
            "duly_broker_errors",
            "Calls to the broker that failed, by this process",
            registry=registry,
        )
        self.broker_latency = Histogram(
            "duly_broker_latency_seconds",
            "How long the broker took to answer a heartbeat or a ping",
            buckets=SECONDS,
            registry=registry,
        )
        self.recovered = Counter(
            "duly_tasks_recovered",
            "Tasks of dead workers that this process recovered",
            ("queue",),
            registry=registry,
        )
        self.quarantined = quarantined_counter(registry)
        for queue in queues:
            self.know_queue(queue)

    def know_queue(self, queue: str) -> None:
        """Export a queue's counters from zero on. Idempotent."""
        self.recovered.labels(queue)
        for reason in QUARANTINE_REASONS:
            self.quarantined.labels(queue, reason)

    def count_recovered(self, queue: str, back: int, quarantined: int) -> None:
        """Count what a reap took from a dead worker: the tasks that wait again, and the others."""
        self.recovered.labels(queue).inc(back)
        self.quarantined.labels(queue, CRASHES).inc(quarantined)


class WorkerMetrics(_ServiceMetrics):
    """What a worker counts beside its attempts: those are `duly.engine.middleware.metrics`."""

    def __init__(self, registry: CollectorRegistry, queues: Iterable[str] = ()) -> None:
        self.concurrency = Gauge(
            "duly_worker_concurrency", "Attempts that may run at once", registry=registry
        )
        self.leases_lost = Counter(
            "duly_lease_lost",
            "Times this worker found that its lease had run out",
            ("queue",),
            registry=registry,
        )
        super().__init__(registry, queues)

    @override
    def know_queue(self, queue: str) -> None:
        """Export a queue's counters from zero on. Idempotent."""
        super().know_queue(queue)
        self.leases_lost.labels(queue)


class SchedulerMetrics(_ServiceMetrics):
    """What a scheduler counts and times."""

    def __init__(self, registry: CollectorRegistry, queues: Iterable[str] = ()) -> None:
        self._entry = Bounded()
        self.ticks = Counter(
            "duly_ticks",
            "Ticks that this scheduler claimed, by what became of them",
            ("entry", "outcome"),
            registry=registry,
        )
        self.unmet = Counter(
            "duly_ticks_unmet",
            "Ticks whose task had not succeeded when the next one of their entry was claimed",
            ("entry",),
            registry=registry,
        )
        self.skipped_in_a_row = Gauge(
            "duly_ticks_skipped_in_a_row",
            "Ticks of an entry that this scheduler claimed and skipped since the last other one; "
            "none while others claim",
            ("entry",),
            registry=registry,
        )
        self.lag = Histogram(
            "duly_tick_lag_seconds",
            "How long after the beginning of its slot a tick was claimed",
            ("entry",),
            buckets=SECONDS,
            registry=registry,
        )
        self.provider_errors = Counter(
            "duly_entries_errors",
            "Times the additional entries could not be read; the last good ones stayed",
            registry=registry,
        )
        self.loop_errors = Counter(
            "duly_loop_errors",
            "Unexpected errors of a background loop, which retried",
            ("loop",),
            registry=registry,
        )
        for loop in _LOOPS:
            self.loop_errors.labels(loop)
        super().__init__(registry, queues)

    def know_entry(self, entry: str) -> None:
        """Export an entry's counters from zero on. Idempotent."""
        label = self._entry(entry)
        for outcome in _TICKS:
            self.ticks.labels(label, outcome)
        self.unmet.labels(label)
        self.lag.labels(label)

    def count_ticks(self, entry: str, outcome: str, count: int = 1) -> None:
        """Count what became of ticks of an entry."""
        self.ticks.labels(self._entry(entry), outcome).inc(count)

    def count_unmet(self, entry: str) -> None:
        """Count a tick whose task had not succeeded in time."""
        self.unmet.labels(self._entry(entry)).inc()

    def set_skipped_in_a_row(self, entry: str, count: int) -> None:
        """Set how many ticks of an entry were skipped one after the other."""
        self.skipped_in_a_row.labels(self._entry(entry)).set(count)

    def forget_skipped_in_a_row(self, entry: str) -> None:
        """Say nothing of the ticks of an entry that others claim, or that is gone. Idempotent."""
        self.skipped_in_a_row.remove(self._entry(entry))

    def time_tick(self, entry: str, lag_seconds: float) -> None:
        """Count how late a tick was."""
        self.lag.labels(self._entry(entry)).observe(lag_seconds)

    def count_loop_error(self, name: str) -> None:
        """Count an error of a loop by the first word of its name; the rest says what it is for."""
        self.loop_errors.labels(name.partition(" ")[0]).inc()
