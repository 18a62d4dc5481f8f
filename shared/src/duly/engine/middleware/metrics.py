"""Counts and times attempts for Prometheus.

The counts are kept in plain numbers and turned into metrics when somebody asks: prometheus-client's
own counters take a lock for every increment, which was a fifth of a worker's time per task.
"""

from bisect import bisect_left
from collections.abc import Iterator
from sys import modules
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from typing_extensions import override

from duly.engine.middleware import Ended, Middleware, Outcome
from duly.engine.middleware.tracing import current_traceparent
from duly.engine.storage.reports import UNKNOWN_KIND, DeadLetter
from duly.runtime.metrics import Bounded, quarantined_counter
from duly.runtime.traceparent import Parent, parent_of, read
from duly.task import SLOT_HEADER, TaskContext, TaskState, slot_of

DURATION_BUCKETS: Final = (
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
WAIT_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
LATE_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_OUTCOMES: Final = tuple(outcome.value for outcome in Outcome if outcome is not Outcome.QUARANTINED)
_EXAMPLE_EVERY_MS: Final = 1_000
"""A bucket gets another example no sooner: nobody scrapes more often, and each takes µs."""
_TRACES: Final = "opentelemetry.context"
"""The module without which there is no span."""

Bucket = tuple[str, float] | tuple[str, float, Exemplar]
"""Upper bound, values up to it, and perhaps an example of one that was traced."""


class _Timings:
    """A histogram without a lock: only the event loop writes to it."""

    __slots__ = ("bounds", "counts", "exampled_ms", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.exampled_ms = [-_EXAMPLE_EVERY_MS] * (len(bounds) + 1)
        """When the attempt began that is the example of each bucket."""
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}
        """Bucket → the last traced value in it."""

    def observe(self, seconds: float) -> int:
        """Count a value; return its bucket."""
        place = bisect_left(self.bounds, seconds)
        self.counts[place] += 1
        self.total += seconds
        return place

    def remember(self, place: int, end: Ended) -> None:
        """Keep an attempt as the example of its bucket, if its trace is kept."""
        span = _kept_span(end.context)
        if span is not None:
            labels = {"trace_id": span.trace_id, "span_id": span.span_id}
            self.exemplars[place] = Exemplar(labels, end.seconds)
            self.exampled_ms[place] = end.context.started_ms

    def buckets(self) -> list[Bucket]:
        """Return cumulative counts by upper bound, as the exposition format wants them."""
        found: list[Bucket] = []
        running, exemplars = 0, self.exemplars.copy()
        bounds = (*self.bounds, float("inf"))
        for place, (bound, count) in enumerate(zip(bounds, tuple(self.counts), strict=True)):
            running += count
            name = "+Inf" if bound == float("inf") else repr(bound)
            example = exemplars.get(place)
            found.append((name, float(running), example) if example else (name, float(running)))
        return found


class _Tally:
    """What is counted of one kind in one queue."""

    __slots__ = ("durations", "outcomes", "running", "waits")

    def __init__(self) -> None:
        self.running = 0
        # From zero on, all of them: `increase()` does not see what a series begins with.
        self.outcomes = dict.fromkeys(_OUTCOMES, 0)
        self.waits = _Timings(WAIT_BUCKETS)
        self.durations = _Timings(DURATION_BUCKETS)


class CountTasks(Middleware, Collector):
    """Counts attempts by outcome, and times how long tasks waited and ran.

    Label values come from configuration and code, never from payloads or strangers; of kinds and
    of entries a hundred each have labels of their own.

    Args:
        registry: What /metrics shows.
        quarantined: Counts what is put aside; None: a counter of its own.
    """

    def __init__(self, registry: CollectorRegistry, quarantined: Counter | None = None) -> None:
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._labels: dict[tuple[str, str], _Tally] = {}
        self._entries: dict[str, _Timings] = {}
        self._kind, self._entry = Bounded(), Bounded()
        self._quarantined = quarantined or quarantined_counter(registry)
        registry.register(self)

    def know(self, queue: str, kind: str) -> None:
        """Export the counters of a kind in a queue from zero on. Idempotent."""
        self._tally(queue, kind)

    def _tally(self, queue: str, kind: str) -> _Tally:
        tally = self._tallies.get((queue, kind))
        if tally is None:
            label = queue, self._kind(kind)
            tally = self._tallies[queue, kind] = self._labels.setdefault(label, _Tally())
        return tally

    @override
    def began(self, context: TaskContext) -> None:
        """Count a running attempt; note how long its task had waited."""
        tally = self._tallies.get((context.queue, context.kind)) or self._tally(
            context.queue, context.kind
        )
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
        durations = tally.durations
        place = durations.observe(end.seconds)
        headers = context.headers
        # Most processes trace nothing, and most tasks have no headers.
        if (headers or _TRACES in modules) and not (
            0 <= context.started_ms - durations.exampled_ms[place] < _EXAMPLE_EVERY_MS
        ):
            durations.remember(place, end)
        if headers and SLOT_HEADER in headers:
            self._time_tick(end)

    def _time_tick(self, end: Ended) -> None:
        """Time the success of a tick's task."""
        context = end.context
        tick = slot_of(context.id, context.headers[SLOT_HEADER])
        if tick is None or end.outcome is not Outcome.SUCCEEDED:
            return
        name, slot_ms = tick
        ended_ms = context.started_ms + round(end.seconds * 1000)
        timings = self._entries.setdefault(self._entry(name), _Timings(LATE_BUCKETS))
        timings.observe(max(0, ended_ms - slot_ms) / 1000)

    @override
    def quarantined(self, queue: str, task_id: str, reason: str) -> None:
        """Count an entry that was set aside."""
        why = "unknown_kind" if reason == UNKNOWN_KIND else "unreadable"
        self._quarantined.labels(queue, why).inc()

    @override
    def dead_lettered(self, letter: DeadLetter) -> None:
        """Count a task that was archived without an attempt: no other hook is told of its end."""
        if not letter.attempted and letter.state is TaskState.ARCHIVED:
            self._tally(letter.queue, letter.kind).outcomes[Outcome.ARCHIVED._value_] += 1

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called in the thread of whoever scrapes."""
        yield from _by_kind(self._labels.copy())
        yield from _by_entry(self._entries.copy())


def _kept_span(context: TaskContext) -> Parent | None:
    """Return the span of the attempt that ends here, if it is kept.

    A worker without a tracer knows only what enqueued the task.
    """
    text = current_traceparent()
    span = read(text) if text else parent_of(context.headers) if context.headers else None
    return span if span is not None and span.sampled else None


def _by_kind(tallies: dict[tuple[str, str], _Tally]) -> Iterator[Metric]:
    tasks = CounterMetricFamily(
        "duly_tasks",
        "Attempts that ended, by what became of the task.",
        labels=("queue", "kind", "outcome"),
    )
    duration = HistogramMetricFamily(
        "duly_task_duration_seconds", "How long attempts ran.", labels=("queue", "kind")
    )
    wait = HistogramMetricFamily(
        "duly_task_wait_seconds",
        "How long tasks waited until an attempt began.",
        labels=("queue", "kind"),
    )
    running = GaugeMetricFamily(
        "duly_tasks_running", "Attempts that run now.", labels=("queue", "kind")
    )
    for both, tally in tallies.items():
        for outcome, count in tally.outcomes.items():
            tasks.add_metric((*both, outcome), count)
        running.add_metric(both, tally.running)
        duration.add_metric(both, tally.durations.buckets(), tally.durations.total)
        wait.add_metric(both, tally.waits.buckets(), tally.waits.total)
    yield from (tasks, duration, wait, running)


def _by_entry(entries: dict[str, _Timings]) -> Iterator[Metric]:
    late = HistogramMetricFamily(
        "duly_tick_completion_seconds",
        "How long after the beginning of its slot the task of a tick succeeded.",
        labels=("entry",),
    )
    for entry, found in entries.items():
        late.add_metric((entry,), found.buckets(), found.total)
    yield late
