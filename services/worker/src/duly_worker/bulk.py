"""Stores any number of demo orders in minutes; what was interrupted goes on where it stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from duly.clock import Clock, SystemClock
from duly.errors import ConfigError
from duly.orders.columns import PLACES
from duly.orders.session import exclusive, explained, open_engine
from duly.orders.tables import CUSTOMERS, ORDERS, PRODUCTS, OrderStatus
from duly_worker import demo
from duly_worker.settings import Settings

APPLICATION: Final = "duly-seed"
BATCH: Final = 5_000
"""Orders of one transaction."""
SPAN: Final = timedelta(days=90)
"""The time over which the orders are spread, up to now."""
_EVERY_OTHER: Final = 6
"""One order of so many is pending, where nothing else is said."""
_MASK: Final = 2**64 - 1
_ORDER_COLUMNS: Final = "id, customer_id, status, created_at, updated_at"
_ITEM_COLUMNS: Final = "order_id, product_id, quantity, unit_price"


@dataclass(frozen=True, slots=True)
class Assortment:
    """What orders consist of, as the database has it."""

    customers: list[int]
    products: list[tuple[int, Any]]
    """Ids, and prices as the driver wants them."""


@dataclass(frozen=True, slots=True)
class Series:
    """The orders 1 to `count`. Each is a function of its number: every run makes the same ones."""

    count: int
    pending: int
    newest: datetime

    @property
    def step(self) -> timedelta:
        """The time between two orders."""
        return SPAN / max(self.count, 1)

    def rows(
        self, first: int, last: int, stock: Assortment
    ) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Return the rows of some orders, and those of their items."""
        orders, items = [], []
        for number in range(first, last + 1):
            dice = _mixed(number)
            customer = stock.customers[dice % len(stock.customers)]
            instant = self.newest - (self.count - number) * self.step
            written = instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            orders.append((number, customer, self._status(number, dice), written, written))
            for line in range(1 + (dice >> 8) % 4):
                # Seven does not divide twenty: no product comes twice.
                product, price = stock.products[((dice >> 16) + 7 * line) % len(stock.products)]
                items.append((number, product, 1 + (dice >> (24 + 4 * line)) % 5, price))
        return orders, items

    def _status(self, number: int, dice: int) -> str:
        """Return a status; the pending ones are spread evenly, and as many as asked for."""
        count, pending = self.count, self.pending
        if number * pending // count > (number - 1) * pending // count:
            return OrderStatus.PENDING.value
        cancelled = (dice >> 48) % 10 == 0
        return (OrderStatus.CANCELLED if cancelled else OrderStatus.COMPLETED).value


async def seed_many(
    settings: Settings,
    count: int,
    *,
    pending: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
    clock: Clock | None = None,
) -> int:
    """Store the demo orders 1 to `count` that the database does not hold; return how many.

    Batches are stored as a whole or not at all. Idempotent, also for several processes at once, and
    after an interruption the next run goes on.

    Args:
        settings: They name the database.
        count: Orders that it is to hold.
        pending: How many of them are pending; None: a sixth.
        on_progress: Is told how many it holds.
        clock: Says when the newest order was created.

    Raises:
        ConfigError: The address is wrong, the database has no schema, or it holds other customers.
        OrdersDownError: The database does not answer.
    """
    stored = 0
    wanted = count // _EVERY_OTHER if pending is None else pending
    with explained(settings.database):
        async with open_engine(settings.database, application=APPLICATION) as engine:
            series = Series(count, wanted, await _newest(engine, count, clock or SystemClock()))
            while True:
                added, last = await _store(engine, series)
                stored += added
                on_progress(min(last, count))
                if last >= count:
                    break
            if stored:
                async with engine.begin() as connection:
                    await connection.execute(text("ANALYZE"))
    return stored


async def _newest(engine: AsyncEngine, count: int, clock: Clock) -> datetime:
    """Return when the last order is created: as an interrupted run has it, else now."""
    async with engine.connect() as connection:
        first = await connection.scalar(select(ORDERS.c.created_at).where(ORDERS.c.id == 1))
    step = SPAN / max(count, 1)
    return clock.now() if first is None else first + (count - 1) * step


async def _store(engine: AsyncEngine, series: Series) -> tuple[int, int]:
    """Store the next batch; return how many orders it has, and the last number that is stored."""
    async with exclusive(engine) as connection:
        last = await connection.scalar(select(func.max(ORDERS.c.id))) or 0
        if last >= series.count:
            return 0, last
        stock = await _assortment(connection)
        end = min(last + BATCH, series.count)
        orders, items = series.rows(last + 1, end, stock)
        await _insert(connection, "orders", _ORDER_COLUMNS, orders)
        await _insert(connection, "order_items", _ITEM_COLUMNS, items)
        if connection.dialect.name == "postgresql":
            sequence = "pg_get_serial_sequence('orders', 'id')"
            await connection.exec_driver_sql(f"SELECT setval({sequence}, {end})")
        return end - last, end


async def _assortment(connection: AsyncConnection) -> Assortment:
    """Return the demo's customers and products, which are stored first if there are none."""
    if await connection.scalar(select(CUSTOMERS.c.id).limit(1)) is None:
        people = [{"username": name, "email": demo.email(name)} for name in demo.USERNAMES]
        products = [{"name": name, "unit_price": price} for name, price in demo.PRODUCTS]
        await connection.execute(insert(CUSTOMERS), people)
        await connection.execute(insert(PRODUCTS), products)
    customers = dict((await connection.execute(select(CUSTOMERS.c.username, CUSTOMERS.c.id))).all())
    products_by_name = dict(
        (await connection.execute(select(PRODUCTS.c.name, PRODUCTS.c.id))).all()
    )
    try:
        return Assortment(
            [customers[name] for name in demo.USERNAMES],
            [(products_by_name[name], _price(connection, price)) for name, price in demo.PRODUCTS],
        )
    except KeyError:
        problem = "holds customers or products that are no demo"
        raise ConfigError("database.url", problem, remedy="use an empty database") from None


def _price(connection: AsyncConnection, price: Any) -> Any:  # noqa: ANN401 - as each driver has it
    return int(price.scaleb(PLACES)) if connection.dialect.name == "sqlite" else price


async def _insert(
    connection: AsyncConnection, table: str, columns: str, rows: list[tuple[Any, ...]]
) -> None:
    """Store rows by the quickest way that the database has. No value needs escaping."""
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" for _ in columns.split(", "))
        statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - ours
        await connection.exec_driver_sql(statement, rows)
        return
    raw: Any = (await connection.get_raw_connection()).driver_connection
    lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    async with raw.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        await copy.write(lines.encode())


def _mixed(number: int) -> int:
    """Return 64 bits that look random and depend on the number alone (splitmix64)."""
    mixed = (number * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
