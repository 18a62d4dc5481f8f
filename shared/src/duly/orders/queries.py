"""The pending orders of our own tables, page by page: constant memory, and no query per order."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Dialect,
    Integer,
    Select,
    String,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from duly.orders.columns import Price
from duly.orders.page import Page, items_of_orders
from duly.orders.reader import Reader, divided, last_id, reading, written_ids
from duly.orders.source import Sweep
from duly.orders.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS
from duly.orders.unreadable import UnreadableError, instant_of
from duly.orders.view import View

# The status is part of the text: with a parameter no planner could know that the partial index
# applies.
_IS_PENDING = ORDERS.c.status == literal_column("'pending'")
_AFTER = bindparam("after", type_=BigInteger)
_LAST = bindparam("last", type_=BigInteger)
_LIMIT = bindparam("limit", type_=Integer)
FIRST_ID, LAST_ID = -(2**63), 2**63 - 1


def _page_of(*columns: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*columns)
        .join(CUSTOMERS, CUSTOMERS.c.id == ORDERS.c.customer_id)
        .where(_IS_PENDING, ORDERS.c.id > _AFTER, ORDERS.c.id <= _LAST)
        .order_by(ORDERS.c.id)
        .limit(_LIMIT)
        # Without statistics SQLite would scan the orders of every status instead.
        .with_hint(ORDERS, "INDEXED BY ix_orders_pending", "sqlite")
    )


PENDING_ORDERS = _page_of(ORDERS.c.id, CUSTOMERS.c.username, CUSTOMERS.c.email)
"""Bind `after` (the last order id of the previous page), `last` (that of the sweep) and `limit`."""
PENDING_ORDERS_WITH_TIMES = _page_of(
    *PENDING_ORDERS.selected_columns, ORDERS.c.created_at, ORDERS.c.updated_at
)
"""The same, each with when it was created and last changed."""
_KINDS = (int, str, str)
_IDS = bindparam("ids", type_=String)
_OF_THESE = {
    "postgresql": ORDER_ITEMS.c.order_id == any_(cast(_IDS, ARRAY(BigInteger))),
    "sqlite": ORDER_ITEMS.c.order_id.in_(
        select(func.json_each(_IDS).table_valued("value").c.value)
    ),
}
_ITEMS = (
    select(
        ORDER_ITEMS.c.order_id,
        PRODUCTS.c.name,
        ORDER_ITEMS.c.quantity,
        # As a text: a decimal takes longer to make, and to look up, than the rest of its row.
        cast(ORDER_ITEMS.c.unit_price, String),
    )
    .join(PRODUCTS, PRODUCTS.c.id == ORDER_ITEMS.c.product_id)
    .order_by(ORDER_ITEMS.c.order_id, ORDER_ITEMS.c.id)
)
PENDING_ITEMS = {dialect: _ITEMS.where(these) for dialect, these in _OF_THESE.items()}
"""By the name of the dialect. Bind `ids`, from `written_ids`: the items of the orders of a page,
whatever became of these meanwhile. By its bounds, PostgreSQL would take four times as long: it
would look again for the orders that are pending."""

_COLUMNS = {
    column.name: f"{column.table.name}.{column.name}"
    for column in (
        *(CUSTOMERS.c.username, CUSTOMERS.c.email, ORDERS.c.created_at, ORDERS.c.updated_at),
        *(PRODUCTS.c.name, ORDER_ITEMS.c.quantity, ORDER_ITEMS.c.unit_price),
    )
}
"""By the names that they have in rows: with their tables, for errors."""
PENDING_COUNT = select(func.count()).select_from(ORDERS).where(_IS_PENDING)
PENDING_BOUND = (
    select(ORDERS.c.id)
    .where(_IS_PENDING, ORDERS.c.id > _AFTER)
    .order_by(ORDERS.c.id)
    .offset(bindparam("skip", type_=Integer))
    .limit(1)
    .with_hint(ORDERS, "INDEXED BY ix_orders_pending", "sqlite")
)
"""Bind `after` and `skip`: the id so many orders further on."""
OLDEST = select(ORDERS.c.created_at).where(_IS_PENDING).order_by(ORDERS.c.created_at).limit(1)
"""The partial index on the time of creation answers at once, however many are pending."""


async def pending_pages(
    engine: AsyncEngine, sweep: Sweep, view: View | None = None
) -> AsyncGenerator[Page, None]:
    """Yield the pending orders of a sweep, in pages.

    Each page is a short transaction of its own, so no snapshot is held while the caller works on
    it, unless the view is a consistent one. Without it, orders that appear or disappear meanwhile
    may be seen or not. No order is seen twice.

    Args:
        engine: The orders database.
        sweep: What to read; items cost one more statement a page.
        view: How to read it; None: as the settings' defaults have it.

    Raises:
        TimeoutError: The database is silent.
        UnreadableError: A value of an order or an item cannot be read.
        sqlalchemy.exc.DBAPIError: The database failed.
    """
    view = view or View()
    after = FIRST_ID if sweep.after is None else sweep.after
    more = True
    async with reading(engine, view) as reader:
        about = await _about(reader, sweep, view)
        while more:
            with _naming_tables():
                page, more = await _page(reader, sweep, after)
            if not page.orders:
                return
            after = last_id(page.orders)
            yield replace(page, **about) if about else page
            about = {}


async def bounds(engine: AsyncEngine, parts: int, smallest: int, view: View) -> list[int]:
    """Return the last id of each part but the last: see `duly.orders.shards.Divisible`."""
    async with reading(engine, view) as reader:
        ((count,),) = await reader.rows(PENDING_COUNT, {})

        async def next_bound(after: int | None, skip: int) -> list[Any]:
            start = FIRST_ID if after is None else after
            return await reader.rows(PENDING_BOUND, {"after": start, "skip": skip})

        return await divided(count, parts, smallest, next_bound)


async def _about(reader: Reader, sweep: Sweep, view: View) -> dict[str, Any]:
    """Return what the first page is to say of all: how old the oldest order is, and the lag."""
    about: dict[str, Any] = {}
    if view.replica:
        about["lag"] = await reader.lag()
    if sweep.after is None and not sweep.times:
        with suppress(UnreadableError, ValueError):  # The check goes on without its age.
            for (created,) in await reader.rows(OLDEST, {}):
                about["oldest"] = instant_of(created)
    return about


async def _page(reader: Reader, sweep: Sweep, after: int) -> tuple[Page, bool]:
    """Return the page after an id, and whether there is another one."""
    statement = PENDING_ORDERS_WITH_TIMES if sweep.times else PENDING_ORDERS
    last = LAST_ID if sweep.until is None else sweep.until
    # One row more than a page holds shows whether there is another page.
    bounds = {"after": after, "last": last, "limit": sweep.page_size + 1}
    kinds = () if sweep.times or sweep.items else _KINDS
    text, values = reader.written(statement, bounds)
    orders, more = await reader.page(text, values, sweep.page_size, kinds)
    page = _with_times(orders) if sweep.times else Page(orders)
    if sweep.items and orders:
        page = await _with_items(reader, page)
    return page, more


def _with_times(rows: Sequence[Any]) -> Page:
    try:
        times = [(instant_of(created), instant_of(changed)) for *_, created, changed in rows]
    except ValueError:
        raise _no_time(rows) from None
    oldest = min((created for created, _ in times), default=None)
    return Page([row[:3] for row in rows], times=times, oldest=oldest)


def _no_time(rows: Sequence[Any]) -> UnreadableError:
    """Return the error for the first time of these rows that is none."""
    for order_id, _, _, *times in rows:
        for name, value in zip(("created_at", "updated_at"), times, strict=True):
            try:
                instant_of(value)
            except ValueError as error:
                return UnreadableError(name, str(error), order_id)
    raise AssertionError  # It is called after one of them could not be read.


@contextmanager
def _naming_tables() -> Iterator[None]:
    """Put the table before the column that cannot be read."""
    try:
        yield
    except UnreadableError as error:
        raise error.renamed(_COLUMNS.get(error.column, error.column)) from None


async def _with_items(reader: Reader, page: Page) -> Page:
    dialect = reader.dialect.name
    ids = written_ids(dialect, [order[0] for order in page.orders])
    rows = await reader.rows(PENDING_ITEMS[dialect], {"ids": ids})
    prices = _Prices(reader.dialect)
    return replace(page, items=items_of_orders(page.orders, rows, prices.__getitem__))


class _Prices(dict[Any, Any]):
    """Driver's value → price: a shop has few prices, and reading one takes long."""

    def __init__(self, dialect: Dialect) -> None:
        self._type, self._dialect = Price(), dialect

    def __missing__(self, value: Any) -> Any:  # noqa: ANN401 - as the driver gives it
        stored = Decimal(value) if self._dialect.name == "postgresql" else int(value)
        price = self[value] = self._type.process_result_value(stored, self._dialect)
        return price
