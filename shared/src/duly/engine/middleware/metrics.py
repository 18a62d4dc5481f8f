"""Counts and times attempts for Prometheus.

The counts are kept in plain numbers and turned into metrics when somebody asks: prometheus-client's
own counters take a lock for every increment, which was a fifth of a worker's time per task.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from duly.engine.middleware import Ended, Middleware
from duly.task import TaskContext

DURATION_BUCKETS: Final = (
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
WAIT_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)


class _Timings:
    """A histogram without a lock: only the event loop writes to it."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def add(self, other: "_Timings") -> None:
        """Count what another of the same bounds has counted."""
        self.counts = [here + there for here, there in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def buckets(self) -> list[tuple[str, float]]:
        """Return cumulative counts by upper bound, as the exposition format wants them."""
        found, running = [], 0
        for bound, count in zip((*self.bounds, float("inf")), tuple(self.counts), strict=True):
            running += count
            found.append(("+Inf" if bound == float("inf") else repr(bound), float(running)))
        return found


class _Tally:
    """What is counted of one kind in one queue."""

    __slots__ = ("durations", "outcomes", "running", "waits")

    def __init__(self) -> None:
        self.running = 0
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        self.waits = _Timings(WAIT_BUCKETS)
        self.durations = _Timings(DURATION_BUCKETS)


class CountTasks(Middleware, Collector):
    """Counts attempts by outcome, and times how long tasks waited and ran.

    Label values come from configuration and code, never from payloads or strangers.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tallies: defaultdict[tuple[str, str], _Tally] = defaultdict(_Tally)
        self._quarantined: defaultdict[str, int] = defaultdict(int)
        registry.register(self)

    @override
    def began(self, context: TaskContext) -> None:
        """Count a running attempt; note how long its task had waited."""
        tally = self._tallies[context.queue, context.kind]
        tally.running += 1
        if context.waiting_since_ms:
            waited_ms = context.started_ms - context.waiting_since_ms
            tally.waits.observe(waited_ms / 1000 if waited_ms > 0 else 0.0)

    @override
    def ended(self, end: Ended) -> None:
        """Count how it ended."""
        context = end.context
        tally = self._tallies[context.queue, context.kind]
        tally.running -= 1
        # Not `.value` nor the member itself: both go through Python code of enum's.
        tally.outcomes[end.outcome._value_] += 1
        tally.durations.observe(end.seconds)

    @override
    def quarantined(self, queue: str, task_id: str, reason: str) -> None:
        """Count an entry that was set aside."""
        self._quarantined[queue] += 1

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called in the thread of whoever scrapes."""
        tallies = list(self._tallies.items())
        yield from _by_kind(tallies)
        yield from _by_queue(tallies)
        quarantined = CounterMetricFamily(
            "duly_tasks_quarantined",
            "Entries set aside without running: malformed, or of an unknown kind.",
            labels=("queue",),
        )
        for queue, count in list(self._quarantined.items()):
            quarantined.add_metric((queue,), count)
        yield quarantined


_Tallies = list[tuple[tuple[str, str], _Tally]]


def _by_kind(tallies: _Tallies) -> Iterator[Metric]:
    tasks = CounterMetricFamily(
        "duly_tasks",
        "Attempts that ended, by what became of the task.",
        labels=("queue", "kind", "outcome"),
    )
    duration = HistogramMetricFamily(
        "duly_task_duration_seconds", "How long attempts ran.", labels=("queue", "kind")
    )
    for both, tally in tallies:
        for outcome, count in list(tally.outcomes.items()):
            tasks.add_metric((*both, outcome), count)
        if tally.outcomes:
            duration.add_metric(both, tally.durations.buckets(), tally.durations.total)
    yield from (tasks, duration)


def _by_queue(tallies: _Tallies) -> Iterator[Metric]:
    waits: defaultdict[str, _Timings] = defaultdict(lambda: _Timings(WAIT_BUCKETS))
    counts: defaultdict[str, int] = defaultdict(int)
    for (queue, _), tally in tallies:
        counts[queue] += tally.running
        waits[queue].add(tally.waits)
    wait = HistogramMetricFamily(
        "duly_task_wait_seconds", "How long tasks waited until an attempt began.", labels=("queue",)
    )
    running = GaugeMetricFamily("duly_tasks_running", "Attempts that run now.", labels=("queue",))
    for queue, count in counts.items():
        running.add_metric((queue,), count)
        if any(waits[queue].counts):
            wait.add_metric((queue,), waits[queue].buckets(), waits[queue].total)
    yield from (wait, running)
