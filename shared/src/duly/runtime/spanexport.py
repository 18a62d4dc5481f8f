"""Exports spans from a task of its own: whoever ends a span neither waits nor fails for that.

Spans are written as bytes when they end. So what waits is small, is no work for Python's collector
of garbage, and leaves the task little to do but to send it: while it works, handlers do not.

A bounded queue lies between. What finds it full is dropped, counted, and logged once until the
collector takes spans again.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Final, NamedTuple

import structlog
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector as MetricsCollector
from typing_extensions import override

from duly.runtime import otlp
from duly.runtime.collector import Collector, CollectorError
from duly.runtime.tracer import KeptSpan

BATCH: Final = 2048
"""Spans in one request, and a few more."""
LARGEST: Final = 1_000_000
"""Bytes of a request after which no more spans go into it; many proxies take a MiB."""
EVERY: Final = timedelta(seconds=1)
"""How long a span waits at most for others of its batch."""
FLUSH: Final = timedelta(seconds=3)
"""How long a process that stops waits for the collector to take what is left."""
LONGEST_PAUSE: Final = timedelta(seconds=30)
"""Between two requests to a collector that fails; the first pause is a second."""


class _Written(NamedTuple):
    """Spans of a scope, as OTLP has them."""

    scope: str
    data: bytes
    number: int


class SpanExport:
    """Sends spans to a collector, in the running loop. They may be added from any thread.

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
        self._enough = max(1, min(BATCH, size // 4))
        self._waiting: deque[_Written] = deque()
        self._batch: list[_Written] = []
        # Whoever ends a span may be the collector of garbage, in the midst of whatever this thread
        # does: hence a lock that the same thread can take twice.
        self._lock, self._woken = threading.RLock(), asyncio.Event()
        self._count = 0
        self._closing = self._failing = False
        self._log = structlog.get_logger("duly.tracing")
        self._told = False
        self.exported = self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="spans")

    def add(self, span: KeptSpan) -> None:
        """Take a span that has ended, or drop it. Never waits, never raises."""
        try:
            data = otlp.field_of(span)
        except Exception as error:  # noqa: BLE001 - spans hold what anybody's code has put there
            self.lose(1)
            self._failed(f"spans cannot be encoded: {type(error).__name__}")
        else:
            self.add_encoded(span.scope, data, 1)

    def add_encoded(self, scope: str, spans: bytes, count: int) -> None:
        """Take several spans, as `otlp.field_of` writes them, or drop them."""
        written = _Written(scope, spans, count)
        with self._lock:
            before = self._count
            if before >= self._size or self._closing:
                self.dropped += count
                return
            self._waiting.append(written)
            self._count = before + count
        if not before or before < self._enough <= before + count:
            with suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._woken.set)

    async def close(self, within: timedelta = FLUSH) -> None:
        """Send what is left, for so long at most; what the collector does not take is dropped."""
        self._closing = True
        self._woken.set()
        try:
            await asyncio.wait({self._task}, timeout=within.total_seconds())
        finally:
            self._task.cancel()
            self._collector.close()
        await asyncio.wait({self._task})
        with self._lock:
            left, self._count = self._count, 0
            self._waiting.clear()
        self.lose(left)
        self._tell()

    def ended(self) -> str | None:
        """Return None while its task runs or has been told to end, else that it has ended."""
        return "the export of spans has ended" if self._task.done() and not self._closing else None

    def lose(self, count: int) -> None:
        """Count spans that were dropped."""
        with self._lock:
            self.dropped += count

    async def _run(self) -> None:
        pause = 0.0
        while not (self._closing and not self._count):
            longer = min(max(1.0, pause * 2), LONGEST_PAUSE.total_seconds())
            try:
                await self._rest(pause)
                await self._export()
            except CollectorError as error:
                pause = longer
                self._failed(str(error))
            except Exception as error:  # noqa: BLE001 - too little memory, for example
                pause = longer
                self._give_up(f"spans cannot be sent: {type(error).__name__}")
            else:
                pause = 0.0
            self._tell()
            if self._closing and pause:
                break  # a stop waits for no collector that fails

    async def _rest(self, pause: float) -> None:
        """Wait for spans to send, and after a failure for so many seconds."""
        while not self._count and not self._closing:
            await self._woken.wait()
            self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause or self._every):
                while not self._closing and (pause or self._count < self._enough):
                    await self._woken.wait()
                    self._woken.clear()

    async def _export(self) -> None:
        """Send what waits. A batch that fails is the next one again, unless it always would."""
        while self._count:
            batch = self._batch = self._batch or self._next()
            count = sum(written.number for written in batch)
            spans = [(written.scope, written.data) for written in batch]
            try:
                await self._collector.send(otlp.request(self._resource, spans, self._version))
            except CollectorError as error:
                if error.again:
                    raise
                self._failed(str(error))
                self.lose(count)
            else:
                self.exported += count
                if self._failing:
                    self._failing = self._told = False
                    self._log.info("Collector of traces reachable again", dropped=self.dropped)
            self._batch = []
            with self._lock:
                self._count = max(0, self._count - count)  # none are left after a `close`
            if self._count < self._enough and not self._closing:
                return  # others will come: a request for each few would cost more than it sends

    def _next(self) -> list[_Written]:
        """Take the spans of a request out of the queue; they count as waiting until it is sent."""
        batch: list[_Written] = []
        count = size = 0
        while self._waiting and count < BATCH and size < LARGEST:
            batch.append(written := self._waiting.popleft())
            count, size = count + written.number, size + len(written.data)
        return batch

    def _give_up(self, reason: str) -> None:
        """Drop the spans of the batch that could not be made or sent."""
        with self._lock:
            self._batch = []
            before, self._count = self._count, sum(each.number for each in self._waiting)
        self.lose(max(0, before - self._count))
        self._failed(reason)

    def _failed(self, reason: str) -> None:
        if not self._failing:
            self._failing = True
            self._log.warning("Collector of traces failed, spans wait", error=reason)

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
