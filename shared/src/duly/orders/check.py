"""The check of all pending orders: a line an order, and its items at DEBUG."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from duly.clock import Clock, SystemClock
from duly.errors import Requeue
from duly.jobs.orders import CheckPendingOrders
from duly.orders.ahead import read_ahead
from duly.orders.memory import Memory
from duly.orders.page import PAGE_SIZE, OrderId, Page, PendingOrder
from duly.orders.policies import Every, LogPolicy, Span
from duly.orders.source import Source, Sweep
from duly.orders.totals import Totals
from duly.runtime.lines import Inner
from duly.runtime.masking import Mask
from duly.task import TaskContext

# The texts and field names are a contract with the readers of the log.
ORDER = "Pending order found"
ORDER_FIELDS = ("order_id", "customer_username", "customer_email")
DIGEST_FIELDS = ("customer_digest",)
"""Only with a mask that has a key: the same for each order of a customer."""
ITEM = "Order item details"
ITEM_FIELDS = ("product_name", "quantity", "unit_price")
SUMMARY = "Pending orders checked"
SUMMARY_FIELDS = ("pending", "logged", "suppressed", "oldest_age", "pages", "duration", "run_id")
_STOP_SECONDS = 0.5
"""How soon a check that waits for the reader of the log notices that the worker is stopping."""


class Lines(Protocol):
    """Where the lines go: many rows of one shape in one call."""

    def enabled(self, level: str) -> bool:
        """Return whether lines of this level are written at all."""

    def write(
        self, level: str, message: str, fields: tuple[str, ...], rows: Iterable[tuple[object, ...]]
    ) -> int:
        """Write a line for each row; return how many were written."""

    def write_nested(
        self,
        level: str,
        message: str,
        fields: tuple[str, ...],
        rows: Sequence[tuple[object, ...]],
        inner: Inner,
    ) -> int:
        """Write a line for each row, each followed by its inner ones; return how many of rows."""

    async def room(self, seconds: float) -> bool:
        """Wait for room for a page, so long at most; return whether there is."""


class PendingOrdersCheck:
    """The handler of `CheckPendingOrders`. It changes no order and is therefore idempotent.

    Args:
        orders: Where they are read from.
        lines: Where the lines go.
        policy: Which of them get a line; None: every one.
        mask: Of the customers' addresses; None: they are written as they are.
        memory: What other workers have logged; None: this process is the only one.
        swept: Is called for each sweep that is summed up; None: nobody counts them.
        clock: Measures the duration and the age.
        page_size: Orders that are read and written at a time.
    """

    def __init__(
        self,
        orders: Source,
        lines: Lines,
        *,
        policy: LogPolicy | None = None,
        mask: Mask | None = None,
        memory: Memory | None = None,
        swept: Callable[[], None] | None = None,
        clock: Clock | None = None,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self._orders, self._lines, self._mask = orders, lines, mask
        self.memory, self._swept = memory, swept
        self._policy = policy or Every()
        self._fields = ORDER_FIELDS + (DIGEST_FIELDS if mask and mask.has_key else ())
        self._clock, self._page_size = clock or SystemClock(), page_size

    async def __call__(self, job: CheckPendingOrders, context: TaskContext) -> None:
        """Log every pending order, then one line that sums up.

        Raises:
            Requeue: The worker is stopping. Another one repeats the whole check: what counts is
                what is pending by then.
        """
        del job  # It carries nothing.
        if self.memory:
            await self.memory.learn(context.queue)
        started, span = self._clock.monotonic(), self._policy.span(self._clock.now())
        totals = await self.sweep(context, span)
        if totals.whole:
            self._policy.swept(span)
            if self.memory:
                await self.memory.swept(context.queue, span)
        self.sum_up(totals, context.id, self._clock.monotonic() - started)

    async def sweep(
        self,
        context: TaskContext,
        span: Span,
        *,
        after: OrderId | None = None,
        until: OrderId | None = None,
    ) -> Totals:
        """Log the pending orders between two ids; return what there were.

        Args:
            context: The task that does.
            span: What the policy of the log looks at.
            after: Only orders with a greater id; None: from the first.
            until: Only orders with this id or a smaller one; None: to the last.

        Raises:
            ConfigError: The source does not say what the policy of the log needs.
            Requeue: The worker is stopping.
        """
        totals, policy = Totals(), self._policy
        with_items = self._lines.enabled("DEBUG")
        wanted = Sweep(
            items=with_items,
            times=policy.times,
            page_size=self._page_size,
            after=after,
            until=until,
        )
        pages = self._orders.pages(wanted)
        async with read_ahead(pages) as ahead:
            async for page in ahead:
                await self._wait_for_room(context, totals.logged)
                if self.memory:
                    await self.memory.recall(context.queue, page, span)
                chosen = policy.chosen(page, span)
                logged = self._write(chosen, with_items=with_items)
                if logged == len(chosen.orders):
                    policy.written(chosen, span)
                    if self.memory:
                        await self.memory.written(context.queue, chosen, span)
                totals.add(page, logged, len(page.orders) - len(chosen.orders))
        return totals

    def sum_up(self, totals: Totals, run_id: str, seconds: float) -> None:
        """Log one line for a whole check, which took so long, and count it."""
        if self._swept:
            self._swept()
        counts = (totals.pending, totals.logged, totals.suppressed)
        values = (*counts, self._age(totals), totals.pages, round(seconds, 3), run_id)
        said: dict[str, object] = dict(zip(SUMMARY_FIELDS, values, strict=True))
        if said["oldest_age"] is None:
            del said["oldest_age"]
        if totals.lag is not None:
            said["replica_lag"] = totals.lag
        self._lines.write("INFO", SUMMARY, tuple(said), [tuple(said.values())])

    def _age(self, totals: Totals) -> float | None:
        """Return how old the oldest order is, in seconds: 0 without any, None if nobody says."""
        if totals.oldest is None:
            return None if totals.pending else 0.0
        return max(0.0, round((self._clock.now() - totals.oldest).total_seconds(), 3))

    async def _wait_for_room(self, context: TaskContext, logged: int) -> None:
        """Return once a page may be written; a reader that stands still must not hold a stop."""
        while not context.stopping():
            if await self._lines.room(_STOP_SECONDS):
                return
        reason = f"the worker is stopping; {logged} pending orders were logged so far"
        raise Requeue(reason)

    def _write(self, page: Page, *, with_items: bool) -> int:
        """Write the lines of a page; return how many orders got theirs."""
        if not page.orders:
            return 0
        rows = self._masked(page.orders, self._mask) if self._mask else page.orders
        if not with_items or not page.items:
            return self._lines.write("INFO", ORDER, self._fields, rows)
        items = Inner("DEBUG", ITEM, ITEM_FIELDS, page.items)
        return self._lines.write_nested("INFO", ORDER, self._fields, rows, items)

    def _masked(
        self, orders: Sequence[PendingOrder], mask: Mask
    ) -> Sequence[tuple[OrderId, str, str] | tuple[OrderId, str, str, str]]:
        """Return the orders without addresses, which may stand in place of a username too."""
        places = len(self._fields) - 2
        return [
            (order_id, mask.text(username), *mask.customer(email)[:places])
            for order_id, username, email in orders
        ]
