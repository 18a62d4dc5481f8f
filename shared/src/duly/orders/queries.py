"""Reads the pending orders, page by page, in constant memory and with no query per order."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import BigInteger, Integer, bindparam, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from duly.orders.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS

PAGE_SIZE = 1000
PAGE_TIMEOUT = timedelta(seconds=30)
"""The last guard: the database's own limits are shorter, but do not help when it is silent."""

PendingOrder = tuple[int, str, str]
"""Order id, the customer's username, and the e-mail address."""
OrderItem = tuple[str, int, Decimal]
"""The product's name, the quantity, and the price of one."""

# The status stands in the text: with a parameter in its place no planner could know that the
# partial index will do.
_IS_PENDING = ORDERS.c.status == literal_column("'pending'")
_AFTER = bindparam("after", type_=BigInteger)
_LAST = bindparam("last", type_=BigInteger)
_LIMIT = bindparam("limit", type_=Integer)
PENDING_ORDERS = (
    select(ORDERS.c.id, CUSTOMERS.c.username, CUSTOMERS.c.email)
    .join(CUSTOMERS, CUSTOMERS.c.id == ORDERS.c.customer_id)
    .where(_IS_PENDING, ORDERS.c.id > _AFTER)
    .order_by(ORDERS.c.id)
    .limit(_LIMIT)
    # Without statistics SQLite would walk through the orders of every status instead.
    .with_hint(ORDERS, "INDEXED BY ix_orders_pending", "sqlite")
)
"""Bind `after` (the id of the last order of the page before) and `limit`."""
PENDING_ITEMS = (
    select(
        ORDER_ITEMS.c.order_id, PRODUCTS.c.name, ORDER_ITEMS.c.quantity, ORDER_ITEMS.c.unit_price
    )
    .join(ORDERS, ORDERS.c.id == ORDER_ITEMS.c.order_id)
    .join(PRODUCTS, PRODUCTS.c.id == ORDER_ITEMS.c.product_id)
    .where(_IS_PENDING, ORDERS.c.id > _AFTER, ORDERS.c.id <= _LAST)
    .order_by(ORDER_ITEMS.c.order_id, ORDER_ITEMS.c.id)
    .with_hint(ORDERS, "INDEXED BY ix_orders_pending", "sqlite")
)
"""Bind `after` and `last`: the items of a page, by its bounds rather than by a thousand ids."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some pending orders, by ascending id."""

    orders: Sequence[PendingOrder]
    items: dict[int, list[OrderItem]] = field(default_factory=dict)
    """By order id; empty when they were not asked for. An order without items is not in it."""


async def pending_pages(
    engine: AsyncEngine,
    *,
    items: bool = False,
    page_size: int = PAGE_SIZE,
    timeout: timedelta = PAGE_TIMEOUT,  # noqa: ASYNC109 - of each page, not of the call
) -> AsyncGenerator[Page, None]:
    """Yield all pending orders, in pages.

    A page is a short transaction of its own, so no snapshot and no connection is held while the
    caller works on it. Orders that come or go meanwhile are seen or not; each is seen once.

    Args:
        engine: The orders database.
        items: Whether to read the items too, by one more statement a page.
        page_size: Orders a page.
        timeout: How long one page may take.

    Raises:
        TimeoutError: A page took too long.
        sqlalchemy.exc.DBAPIError: The database failed.
    """
    after, more = 0, True
    while more:
        async with asyncio.timeout(timeout.total_seconds()), engine.connect() as connection:
            # One more than a page holds tells whether there is another one.
            bounds = {"after": after, "limit": page_size + 1}
            rows = (await connection.execute(PENDING_ORDERS, bounds)).all()
            orders = [(row[0], row[1], row[2]) for row in rows[:page_size]]
            more = len(rows) > page_size
            if not orders:
                return
            last = orders[-1][0]
            page = Page(orders, await _items(connection, after, last) if items else {})
        after = last
        yield page


async def _items(connection: AsyncConnection, after: int, last: int) -> dict[int, list[OrderItem]]:
    found: defaultdict[int, list[OrderItem]] = defaultdict(list)
    rows = await connection.execute(PENDING_ITEMS, {"after": after, "last": last})
    for order_id, name, quantity, unit_price in rows.all():
        found[order_id].append((name, quantity, unit_price))
    return dict(found)
