"""What checks of pending orders do to their source, and what it does to them."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from duly.clock import Clock, SystemClock
from duly.engine.middleware.tracing import child
from duly.orders.page import OrderId, Page
from duly.orders.shards import Divisible
from duly.orders.source import Source, Sweep
from duly.runtime.metrics import SECONDS


class CountedSource:
    """A source of orders that counts what is read from it.

    Args:
        source: Read from.
        registry: Where the metrics are registered.
        clock: Times the pages.
        replica: Whether a replica is read, whose lag is exported.
    """

    def __init__(
        self,
        source: Source,
        registry: CollectorRegistry,
        *,
        clock: Clock | None = None,
        replica: bool = False,
    ) -> None:
        self._source, self._clock = source, clock or SystemClock()
        self._sweeps = Counter(
            "duly_orders_sweeps",
            "Times that all pending orders were read, in one task or in shards",
            registry=registry,
        )
        self._found = Counter(
            "duly_orders_found", "Pending orders that were read", registry=registry
        )
        self._reading = Gauge(
            "duly_orders_sweeps_running",
            "Sweeps, or shards of one, that read orders now",
            registry=registry,
        )
        self._errors = Counter(
            "duly_orders_source_errors",
            "Sweeps, or shards of one, that the source of the orders ended with an error",
            registry=registry,
        )
        self._page_seconds = Histogram(
            "duly_orders_page_seconds",
            "How long the source took to give a page of orders",
            buckets=SECONDS,
            registry=registry,
        )
        self._lag: Gauge | None = None
        if replica:
            self._lag = Gauge(
                "duly_orders_replica_lag_seconds",
                "How far the replica was behind when it was read last",
                registry=registry,
            )

    async def pages(self, sweep: Sweep) -> AsyncGenerator[Page, None]:
        """Yield the pages of the source, and raise what it raises."""
        asked = self._clock.monotonic()
        with self._reading.track_inprogress():
            async with aclosing(self._source.pages(sweep)) as pages:
                while (page := await self._next(pages)) is not None:
                    self._page_seconds.observe(self._clock.monotonic() - asked)
                    self._found.inc(len(page.orders))
                    if self._lag is not None and page.lag is not None:
                        self._lag.set(page.lag)
                    yield page
                    asked = self._clock.monotonic()

    def count_sweep(self) -> None:
        """Count a sweep whose pages have all been read, in however many shards."""
        self._sweeps.inc()

    @contextmanager
    def errors_counted(self) -> Iterator[None]:
        """Count what the source raises."""
        try:
            yield
        except Exception:
            self._errors.inc()
            raise

    async def _next(self, pages: AsyncGenerator[Page, None]) -> Page | None:
        with child("read page", "INTERNAL", {}, scope="duly.orders") as span:
            with self.errors_counted():
                page = await anext(pages, None)
            if span is not None:
                span.set_attribute("duly.orders", len(page.orders) if page is not None else 0)
            return page


class CountedDivisibleSource(CountedSource):
    """A source that can be read in parts, of which it counts the errors, too."""

    _source: Divisible

    async def bounds(self, parts: int, smallest: int) -> Sequence[OrderId]:
        """Return the bounds of the source, and raise what it raises."""
        with self.errors_counted():
            return await self._source.bounds(parts, smallest)
