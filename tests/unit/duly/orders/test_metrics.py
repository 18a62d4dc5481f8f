"""Sweeps are counted, whatever the orders are read from."""

from contextlib import aclosing

import pytest
from prometheus_client import CollectorRegistry

from duly.orders.metrics import CountedDivisibleSource, CountedSource
from duly.orders.page import Page
from duly.orders.source import Sweep


class Shelf:
    """A source of two pages, which may break after the first."""

    def __init__(self, *, breaks=False):
        self.breaks, self.closed = breaks, False

    async def pages(self, sweep):
        try:
            yield Page(orders=[(1, "ann", "a@example.com"), (2, "bob", "b@example.com")])
            if self.breaks:
                raise OSError("gone")
            yield Page(orders=[(3, "cyd", "c@example.com")])
        finally:
            self.closed = True


@pytest.fixture
def registry():
    return CollectorRegistry()


async def read(source, *, most=9):
    found = []
    async with aclosing(source.pages(Sweep())) as pages:
        async for page in pages:
            found += page.orders
            if len(found) >= most:
                break
    return found


async def test_a_sweep_its_pages_and_its_orders_are_counted(registry):
    source = CountedSource(Shelf(), registry)

    assert len(await read(source)) == 3
    source.count_sweep()
    assert registry.get_sample_value("duly_orders_sweeps_total") == 1
    assert registry.get_sample_value("duly_orders_found_total") == 3
    assert registry.get_sample_value("duly_orders_page_seconds_count") == 2
    assert registry.get_sample_value("duly_orders_sweeps_running") == 0
    assert registry.get_sample_value("duly_orders_source_errors_total") == 0


async def test_an_error_of_the_source_is_counted_and_raised(registry):
    source = CountedSource(Shelf(breaks=True), registry)

    with pytest.raises(OSError, match="gone"):
        await read(source)

    assert registry.get_sample_value("duly_orders_source_errors_total") == 1
    assert registry.get_sample_value("duly_orders_sweeps_total") == 0


async def test_an_error_while_a_sweep_is_divided_is_counted_and_raised(registry):
    class Broken(Shelf):
        async def bounds(self, parts, smallest):
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await CountedDivisibleSource(Broken(), registry).bounds(4, 1)

    assert registry.get_sample_value("duly_orders_source_errors_total") == 1


async def test_who_stops_reading_closes_the_source_and_counts_no_error(registry):
    shelf = Shelf()

    await read(CountedSource(shelf, registry), most=1)

    assert shelf.closed
    assert registry.get_sample_value("duly_orders_source_errors_total") == 0
    assert registry.get_sample_value("duly_orders_sweeps_total") == 0


@pytest.mark.parametrize(("replica", "lag"), [(True, 2.5), (False, None)])
async def test_the_lag_of_a_replica_is_exported_where_one_is_read(registry, replica, lag):
    class Replica:
        async def pages(self, sweep):
            yield Page(orders=[(1, "ann", "a@example.com")], lag=2.5)
            yield Page(orders=[(2, "bob", "b@example.com")])

    await read(CountedSource(Replica(), registry, replica=replica))

    assert registry.get_sample_value("duly_orders_replica_lag_seconds") == lag
