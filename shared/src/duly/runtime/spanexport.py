"""Exports spans from a thread of its own: whoever ends a span neither waits nor fails for that.

A bounded queue lies between. What finds it full is dropped, counted, and logged once until the
collector takes spans again.
"""

import threading
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector as MetricsCollector
from typing_extensions import override

from duly.clock import SystemClock
from duly.runtime import otlp
from duly.runtime.collector import Collector, CollectorError
from duly.runtime.tracer import KeptSpan

BATCH: Final = 512
"""Spans in one request."""
EVERY: Final = timedelta(seconds=1)
"""How long a span waits at most for others of its batch."""
FLUSH: Final = timedelta(seconds=3)
"""How long a process that stops waits for the collector to take what is left."""
LONGEST_PAUSE: Final = timedelta(seconds=30)
"""Between two requests to a collector that fails; the first pause is a second."""


class SpanExport:
    """Sends spans to a collector. `add` may be called from any thread.

    Args:
        collector: Takes them.
        resource: Who they are of, as `otlp.resource` gives it.
        version: Of duly.
        size: Spans that may wait.
        every: How long one waits at most for others.
    """

    def __init__(
        self,
        collector: Collector,
        resource: bytes,
        *,
        version: str,
        size: int,
        every: timedelta = EVERY,
    ) -> None:
        self._collector, self._resource, self._version = collector, resource, version
        self._size, self._every = size, every.total_seconds()
        self._waiting: deque[KeptSpan] = deque()
        self._wake, self._closing, self._idle = threading.Event(), False, True
        self._ends = float("inf")
        self._monotonic = SystemClock().monotonic
        self._failing = False
        self._log = structlog.get_logger("duly.tracing")
        self._told = False
        self.exported = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="duly-spans", daemon=True)
        self._thread.start()

    def add(self, span: KeptSpan) -> None:
        """Take a span that has ended, or drop it. Never waits, never raises."""
        waiting = self._waiting
        if len(waiting) >= self._size or self._closing:
            self.dropped += 1
            return
        waiting.append(span)
        if self._idle or len(waiting) == BATCH:
            self._idle = False
            self._wake.set()

    def close(self, within: timedelta = FLUSH) -> None:
        """Send what is left, for so long at most; what the collector does not take is dropped."""
        self._ends, self._closing = self._monotonic() + within.total_seconds(), True
        self._wake.set()
        self._thread.join(within.total_seconds())
        left, self._waiting = self._waiting, deque()  # the thread may still hold the old one
        self.dropped += len(left)
        self._tell()

    def _run(self) -> None:
        pause = 0.0
        while not (self._closing and not self._waiting):
            self._rest(pause)
            try:
                self._export()
            except CollectorError as error:
                pause = min(max(1.0, pause * 2), LONGEST_PAUSE.total_seconds())
                self._failed(error)
            else:
                pause = 0.0
            self._tell()
            if self._closing and (pause or self._monotonic() > self._ends):
                break  # a stop waits for no collector that fails
        self._collector.close()

    def _rest(self, pause: float) -> None:
        """Wait for spans to send, and after a failure for so many seconds."""
        if not self._waiting and not self._closing:
            self._idle = True
            if not self._waiting:
                self._wake.wait()
        self._wake.clear()
        ends = self._monotonic() + (pause or self._every)
        while not self._closing and (left := ends - self._monotonic()) > 0:
            if not pause and len(self._waiting) >= BATCH:
                break
            self._wake.wait(left)
            self._wake.clear()

    def _export(self) -> None:
        """Send what waits. A batch that fails stays at the front, unless it always would."""
        waiting = self._waiting
        while waiting:
            batch = [waiting[place] for place in range(min(BATCH, len(waiting)))]
            try:
                self._collector.send(self._encoded(batch))
            except CollectorError as error:
                if error.again:
                    raise
                self._failed(error)
                self.dropped += len(batch)
            else:
                self.exported += len(batch)
                if self._failing:
                    self._failing = self._told = False
                    self._log.info("Collector of traces reachable again", dropped=self.dropped)
            for _ in batch:
                waiting.popleft()
            if self._closing and self._monotonic() > self._ends:
                return

    def _encoded(self, batch: list[KeptSpan]) -> bytes:
        try:
            return otlp.request(self._resource, batch, self._version)
        except Exception as error:  # noqa: BLE001 - spans hold what anybody's code has put there
            name = type(error).__name__
            raise CollectorError(f"spans cannot be encoded: {name}", again=False) from None

    def _failed(self, error: CollectorError) -> None:
        if not self._failing:
            self._failing = True
            self._log.warning("Collector of traces failed, spans wait", error=str(error))

    def _tell(self) -> None:
        """Log that spans were dropped: once until the collector takes spans again."""
        if self.dropped and not self._told:
            self._told = True
            self._log.warning("Spans dropped", dropped=self.dropped)


class SpanMetrics(MetricsCollector):
    """What became of the spans of this process; it reads that when it is scraped."""

    def __init__(self, export: SpanExport) -> None:
        self._export = export

    @override
    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the metrics."""
        yield CounterMetricFamily(
            "duly_spans_exported",
            "Spans that the collector of traces has taken",
            value=self._export.exported,
        )
        yield CounterMetricFamily(
            "duly_spans_dropped",
            "Spans that were dropped: the collector was too slow, away or refused them",
            value=self._export.dropped,
        )
