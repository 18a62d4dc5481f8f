"""The check of all pending orders: a line an order, and its items at DEBUG."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from duly.clock import Clock, SystemClock
from duly.errors import HandBack
from duly.jobs.orders import CheckPendingOrders
from duly.orders.queries import PAGE_SIZE, Page, pending_pages
from duly.task import TaskContext

# The texts and the names of the fields are a contract with whoever reads the log.
ORDER = "Pending order found"
ORDER_FIELDS = ("order_id", "customer_username", "customer_email")
ITEM = "Order item details"
ITEM_FIELDS = ("product_name", "quantity", "unit_price")
SUMMARY = "Pending orders checked"
SUMMARY_FIELDS = ("pending", "logged", "duration", "run_id")
_BREATH = 100
"""After so many orders with items the loop gets its turn: some milliseconds of work."""


class Lines(Protocol):
    """Where the lines go: many rows of one shape in one call."""

    def enabled(self, level: str) -> bool:
        """Tell whether lines of this level are written at all."""

    def write(
        self, level: str, message: str, fields: tuple[str, ...], rows: Iterable[tuple[object, ...]]
    ) -> int:
        """Write a line for each row; return how many were written."""


class PendingOrdersCheck:
    """The handler of `CheckPendingOrders`. It changes nothing, so it may run any number of times.

    Args:
        orders: The orders database.
        lines: Where the lines go.
        clock: Measures the duration.
        page_size: Orders that are read and written at a time.
    """

    def __init__(
        self,
        orders: AsyncEngine,
        lines: Lines,
        *,
        clock: Clock | None = None,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self._orders, self._lines = orders, lines
        self._clock, self._page_size = clock or SystemClock(), page_size

    async def __call__(self, job: CheckPendingOrders, context: TaskContext) -> None:
        """Log every pending order, then one line that sums up.

        Raises:
            HandBack: The worker stops. Another one takes the check over, from its start: what is
                pending by then is what counts.
        """
        del job  # It carries nothing.
        started = self._clock.monotonic()
        pending = logged = 0
        with_items = self._lines.enabled("DEBUG")
        pages = pending_pages(self._orders, items=with_items, page_size=self._page_size)
        async with aclosing(pages):
            async for page in pages:
                if context.stopping():
                    reason = f"the worker stops; {pending} pending orders were logged so far"
                    raise HandBack(reason)
                pending += len(page.orders)
                logged += await self._write(page, with_items=with_items)
                await asyncio.sleep(0)
        seconds = round(self._clock.monotonic() - started, 3)
        self._lines.write("INFO", SUMMARY, SUMMARY_FIELDS, [(pending, logged, seconds, context.id)])

    async def _write(self, page: Page, *, with_items: bool) -> int:
        """Write the lines of a page; return how many orders got theirs."""
        if not with_items:
            return self._lines.write("INFO", ORDER, ORDER_FIELDS, page.orders)
        logged = 0
        for number, order in enumerate(page.orders, 1):
            logged += self._lines.write("INFO", ORDER, ORDER_FIELDS, [order])
            self._lines.write("DEBUG", ITEM, ITEM_FIELDS, page.items.get(order[0], []))
            if number % _BREATH == 0:
                await asyncio.sleep(0)
        return logged
