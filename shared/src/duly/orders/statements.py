"""The source of orders that runs a shop's own statements on the shop's own tables."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from duly.errors import ConfigError
from duly.orders.database import Database
from duly.orders.page import OrderId, Page, items_of_orders
from duly.orders.source import Sweep
from duly.orders.unreadable import UnreadableError, instant_of
from duly.orders.view import View
from duly.runtime.order_settings import SqlSourceSettings
from duly.runtime.packed import Kind, PackedRows

if TYPE_CHECKING:
    from duly.orders.reader import Reader

ORDERS_KEY: Final = "orders.sql.orders"
ITEMS_KEY: Final = "orders.sql.items"
ORDER_COLUMNS: Final = ("order_id", "customer_username", "customer_email")
TIME_COLUMNS: Final = ("created_at", "updated_at")
ITEM_COLUMNS: Final = ("order_id", "product_name", "quantity", "unit_price")
POSITION: Final = "item_id"
"""Where the statement of items has this column, the items of an order are sorted by it."""
_PAGE: Final = "SELECT {columns} FROM ({statement}\n) AS pending{where} ORDER BY {order}"


class SqlSource:
    """Reads pending orders by two statements of the settings, page by page.

    Each becomes a subquery, on which a condition on the id, an order and a limit are put: what the
    statement sorts by, and where it stops, is of no importance.
    """

    def __init__(
        self, database: Database, statements: SqlSourceSettings, *, times: bool = False
    ) -> None:
        self._database, self._view, self._times = database, database.view, times
        self._orders = _checked(statements.orders, ORDERS_KEY)
        self._items = _checked(statements.items, ITEMS_KEY) if statements.items.strip() else ""
        self._columns: Mapping[str, frozenset[str]] | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, view: View, statements: SqlSourceSettings, *, times: bool = False
    ) -> AsyncIterator[Self]:
        """Check the statements on the database, and close afterwards what was opened.

        A database that does not answer is checked before the first sweep instead.

        Args:
            view: What to read and how.
            statements: Those of the settings.
            times: Whether the times of each order are needed.

        Raises:
            ConfigError: The address or a statement is wrong.
            MissingExtraError: SQLAlchemy is not installed.
        """
        async with Database.open(view) as database:
            source = cls(database, statements, times=times)
            await source.check()
            yield source

    async def check(self) -> None:
        """Run the statements without reading rows.

        Raises:
            ConfigError: A statement is wrong, or lacks a column.
        """
        from duly.orders.session import OrdersDownError

        try:
            async with self._reading() as reader:
                await self._known(reader)
        except OrdersDownError as error:
            structlog.get_logger("duly.orders").warning("Orders not checked yet", error=str(error))

    async def pages(self, sweep: Sweep) -> AsyncGenerator[Page, None]:
        """Yield the pending orders of a sweep, in pages.

        Raises:
            ConfigError: A statement is wrong, or lacks a column.
            OrdersDownError: The database cannot be read.
        """
        from duly.orders.reader import last_id

        async with self._reading() as reader:
            columns = await self._known(reader)
            kinds = await self._kinds(reader, sweep)
            lag = await reader.lag() if self._view.replica else None
            after, more = sweep.after, True
            while more:
                page, more = await self._page(reader, sweep, columns, kinds, after)
                if not page.orders:
                    return
                if sweep.items:
                    page = await self._with_items(reader, columns, page, after)
                after = last_id(page.orders)
                yield page if lag is None else replace(page, lag=lag)
                lag = None

    async def bounds(self, parts: int, smallest: int) -> list[Any]:
        """Return the last id of each part but the last: see `duly.orders.shards.Divisible`."""
        from duly.orders.reader import divided

        async with self._reading() as reader:
            statement = reader.quoted(self._orders)
            count = f"SELECT count(*) FROM ({statement}\n) AS pending"  # noqa: S608 - of the settings
            _, ((found,),) = await reader.raw(count)

            async def next_bound(after: Any, skip: int) -> list[Any]:  # noqa: ANN401 - an id
                bounds = {"after": after}
                asked = _bounded(reader, self._orders, ("order_id",), bounds, "order_id")
                _, rows = await reader.raw(f"{asked} LIMIT 1 OFFSET {skip}", _given(bounds))
                return rows

            return await divided(found, parts, smallest, next_bound)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator["Reader"]:
        engine = await self._database.engine()
        from duly.orders.reader import reading
        from duly.orders.session import down

        with down(self._view.database, self._view.key):
            async with reading(engine, self._view) as reader:
                yield reader

    async def _known(self, reader: "Reader") -> Mapping[str, frozenset[str]]:
        """Return the columns of the statements by their keys, looked up once."""
        if self._columns is None:
            columns = {ORDERS_KEY: await _columns(reader, self._orders, ORDERS_KEY, ORDER_COLUMNS)}
            if self._times:
                _check_times(columns[ORDERS_KEY])
            if self._items:
                columns[ITEMS_KEY] = await _columns(reader, self._items, ITEMS_KEY, ITEM_COLUMNS)
            self._columns = columns
        return self._columns

    async def _kinds(self, reader: "Reader", sweep: Sweep) -> Sequence[Kind]:
        """Return the kinds of the columns of a page, if its orders may come packed."""
        if sweep.items or sweep.times:
            return ()
        return await reader.kinds(_bounded(reader, self._orders, ORDER_COLUMNS, {}, "order_id"), {})

    async def _page(
        self,
        reader: "Reader",
        sweep: Sweep,
        columns: Mapping[str, frozenset[str]],
        kinds: Sequence[Kind],
        after: Any,  # noqa: ANN401 - an id of the shop
    ) -> tuple[Page, bool]:
        """Return the page after an id, and whether there is another one."""
        times = [name for name in TIME_COLUMNS if name in columns[ORDERS_KEY]]
        asked = [*ORDER_COLUMNS, *(times if sweep.times else ())]
        bounds = {"after": after, "last": sweep.until}
        statement = _bounded(reader, self._orders, asked, bounds, "order_id")
        statement += f" LIMIT {sweep.page_size + 1}"
        with _named(ORDERS_KEY):
            rows, more = await reader.page(statement, _given(bounds), sweep.page_size, kinds)
        ids = rows.first_fields() if isinstance(rows, PackedRows) else [row[0] for row in rows]
        _check_ids(ids)
        if not sweep.times:
            return Page(rows), more
        with _named(ORDERS_KEY):
            told = [(row[0], dict(zip(asked[3:], row[3:], strict=True))) for row in rows]
            known = [(_time("created_at", *each), _time("updated_at", *each)) for each in told]
        oldest = min((created for created, _ in known if created is not None), default=None)
        return Page([row[:3] for row in rows], times=known, oldest=oldest), more

    async def _with_items(
        self,
        reader: "Reader",
        columns: Mapping[str, frozenset[str]],
        page: Page,
        after: Any,  # noqa: ANN401 - an id of the shop
    ) -> Page:
        if not self._items:
            return page
        from duly.orders.reader import written_ids

        order = "order_id" + (f", {POSITION}" if POSITION in columns[ITEMS_KEY] else "")
        last = page.orders[-1][0]
        bounds = {"after": after, "last": last}
        if isinstance(last, str):
            # The two statements may sort texts by different rules: bounds would leave items out.
            ids = [order[0] for order in page.orders]
            bounds = {"ids": written_ids(reader.dialect.name, ids)}
        statement = _bounded(reader, self._items, ITEM_COLUMNS, bounds, order)
        with _named(ITEMS_KEY):
            _, rows = await reader.raw(statement, _given(bounds))
            return replace(page, items=items_of_orders(page.orders, rows, _price))


def _checked(statement: str, key: str) -> str:
    """Return a statement without what may stand at its end."""
    text = statement.strip().rstrip(";").rstrip()
    if not text:
        columns = ", ".join(ORDER_COLUMNS)
        raise ConfigError(key, "is empty", remedy=f"write a SELECT with the columns {columns}")
    return text


async def _columns(
    reader: "Reader", statement: str, key: str, wanted: Sequence[str]
) -> frozenset[str]:
    """Return the names of the columns of a statement."""
    from sqlalchemy.exc import DBAPIError

    from duly.orders.session import refuses, said_by

    statement = reader.quoted(statement)
    try:
        found, _ = await reader.raw(f"SELECT * FROM ({statement}\n) AS pending LIMIT 0")  # noqa: S608 - of the settings
        missing = [name for name in wanted if name not in found]
        if missing:
            has = f"it has {', '.join(found)}" if found else "it has none"
            remedy = f"select it under this name: … AS {missing[0]}"
            raise ConfigError(key, f"has no column {', '.join(missing)}; {has}", remedy=remedy)
        asked = _PAGE.format(columns="*", statement=statement, where="", order="order_id")
        await reader.raw(f"{asked} LIMIT 0")
    except DBAPIError as error:
        if not refuses(error):
            raise
        remedy = "try it by itself: it is a SELECT that stands in parentheses"
        problem = f"the database refuses it: {said_by(error)}"
        raise ConfigError(key, problem, remedy=remedy) from None
    return frozenset(found)


def _check_times(columns: frozenset[str]) -> None:
    missing = [name for name in TIME_COLUMNS if name not in columns]
    if missing:
        problem = f"has no column {', '.join(missing)}, which orders.log: changes needs"
        remedy = f"select it under this name: … AS {missing[0]}; or use orders.log: every or sample"
        raise ConfigError(ORDERS_KEY, problem, remedy=remedy)


def _bounded(
    reader: "Reader", statement: str, columns: Sequence[str], bounds: Mapping[str, Any], order: str
) -> str:
    """Return a statement for ids between two bounds, or for these ids, in the driver's words."""
    psycopg = reader.dialect.name == "postgresql"
    among = "= ANY ({})" if psycopg else "IN (SELECT value FROM json_each({}))"
    forms = {"after": "> {}", "last": "<= {}", "ids": among}
    conditions = [
        f"order_id {forms[name].format(f'%({name})s' if psycopg else f':{name}')}"
        for name, value in bounds.items()
        if value is not None
    ]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = reader.quoted(statement)
    return _PAGE.format(columns=", ".join(columns), statement=statement, where=where, order=order)


def _given(bounds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a bounded statement."""
    return {name: value for name, value in bounds.items() if value is not None}


def _check_ids(ids: Sequence[Any]) -> None:
    """Refuse a page from which the next one could not go on."""
    if None in ids:
        problem, remedy = (
            "an order has no order_id",
            "leave such rows out, or choose another column",
        )
    elif len(set(ids)) < len(ids):
        problem = "an order comes twice"
        remedy = "a join may multiply it: give one row for each order_id"
    else:
        return
    raise ConfigError(ORDERS_KEY, problem, remedy=remedy)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Say which statement gives a value that cannot be read."""
    try:
        yield
    except UnreadableError as error:
        raise ConfigError(key, error.told, remedy="correct that row, or leave it out") from None


def _time(name: str, order_id: OrderId, row: Mapping[str, Any]) -> datetime | None:
    value = row.get(name)
    try:
        return None if value is None else instant_of(value)
    except ValueError as error:
        raise UnreadableError(name, str(error), order_id) from None


def _price(value: Any) -> Decimal:  # noqa: ANN401 - as the driver gives it
    """Return a price exactly; of a floating-point number, its shortest form."""
    return value if isinstance(value, Decimal) else Decimal(str(value))
