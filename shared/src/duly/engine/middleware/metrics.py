"""Counts and times attempts for Prometheus."""

from typing_extensions import override

from duly.clock import Clock, SystemClock
from duly.engine.middleware import Ended, Middleware
from duly.runtime.metrics import WorkerMetrics
from duly.task import TaskContext


class CountTasks(Middleware):
    """Feeds a worker's metrics."""

    def __init__(self, metrics: WorkerMetrics, clock: Clock | None = None) -> None:
        self._metrics, self._clock = metrics, clock or SystemClock()

    @override
    def began(self, context: TaskContext) -> None:
        """Count a running attempt; note how long its task had waited."""
        self._metrics.running_child(context.queue).inc()
        if context.enqueued_at is not None:
            waited = (self._clock.now() - context.enqueued_at).total_seconds()
            self._metrics.wait_child(context.queue).observe(max(0.0, waited))

    @override
    def ended(self, end: Ended) -> None:
        """Count how it ended."""
        queue, kind = end.context.queue, end.context.kind
        self._metrics.running_child(queue).dec()
        self._metrics.task_child(queue, kind, end.outcome.value).inc()
        self._metrics.duration_child(queue, kind).observe(end.duration.total_seconds())

    @override
    def quarantined(self, queue: str, task_id: str, reason: str) -> None:
        """Count an entry that was set aside."""
        self._metrics.quarantined.labels(queue).inc()
