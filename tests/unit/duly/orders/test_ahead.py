import asyncio

import pytest

from duly.orders.ahead import read_ahead
from duly.orders.page import Page


class Pages:
    """Pages of one order each, and what was asked for."""

    def __init__(self, count, error=None):
        self.count, self.error = count, error
        self.asked, self.closed, self.cancelled = 0, False, False
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def read(self):
        try:
            for number in range(self.count):
                self.asked += 1
                await self.goes_on.wait()
                yield Page([(number, "ann", "ann@example.com")])
            if self.error:
                raise self.error
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.closed = True


async def test_all_pages_come_in_order_and_one_is_read_ahead():
    pages = Pages(3)
    seen, asked = [], []

    async with read_ahead(pages.read()) as ahead:
        async for page in ahead:
            seen.append(page.orders[0][0])
            asked.append(pages.asked)

    assert (seen, asked, pages.closed) == ([0, 1, 2], [2, 3, 3], True)


async def test_no_pages():
    async with read_ahead(Pages(0).read()) as ahead:
        assert [page async for page in ahead] == []


async def test_an_error_comes_after_the_pages_before_it():
    pages = Pages(2, error=OSError("gone"))

    async with read_ahead(pages.read()) as ahead:
        await anext(ahead)
        await anext(ahead)
        with pytest.raises(OSError, match="gone"):
            await anext(ahead)

    assert pages.closed


async def test_who_stops_before_the_end_leaves_nothing_running():
    pages = Pages(5)

    async with read_ahead(pages.read()) as ahead:
        await anext(ahead)
        pages.goes_on.clear()
        await anext(ahead)

    assert (pages.closed, pages.cancelled) == (True, True)
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_ahead_of_who_stops_is_of_no_interest():
    pages = Pages(1, error=OSError("gone"))

    async with read_ahead(pages.read()) as ahead:
        await anext(ahead)

    assert pages.closed
