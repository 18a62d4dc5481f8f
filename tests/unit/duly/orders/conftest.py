"""An orders database with its schema, and a way to count what is asked of it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import insert, text

from duly.orders.reader import Reader
from duly.orders.schema import upgrade
from duly.orders.session import open_engine
from duly.orders.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS
from duly.runtime.settings import DatabaseSettings

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)


@pytest.fixture
def database(database_url):
    return DatabaseSettings(url=database_url)


@pytest.fixture
async def empty_engine(database):
    async with open_engine(database) as engine:
        yield engine


@pytest.fixture
async def engine(empty_engine):
    await upgrade(empty_engine)
    return empty_engine


@pytest.fixture
def fill(engine):
    """Return a function that stores orders: `pending` pending ones and `others`."""

    async def store(pending, *, others=0, items=2):
        customers = [{"username": f"c{n}", "email": f"c{n}@example.com"} for n in range(10)]
        products = [
            {"name": name, "unit_price": Decimal("29.99")} for name in ("Tea", 'Pot "blue"')
        ]
        orders = [
            {
                "customer_id": number % 10 + 1,
                "status": "pending" if number < pending else "completed",
                "created_at": NOON,
                "updated_at": NOON,
            }
            for number in range(pending + others)
        ]
        rows = [
            {"order_id": order + 1, "product_id": n % 2 + 1, "quantity": n + 1}
            for order in range(pending)
            for n in range(items)
        ]
        async with engine.begin() as connection:
            await connection.execute(insert(CUSTOMERS), customers)
            await connection.execute(insert(PRODUCTS), products)
            if orders:
                await connection.execute(insert(ORDERS), orders)
            if rows:
                price = {"unit_price": Decimal("29.99")}
                await connection.execute(insert(ORDER_ITEMS), [row | price for row in rows])
        if others:
            async with engine.connect() as connection:
                await connection.execute(text("ANALYZE"))
                await connection.commit()

    return store


@pytest.fixture
def statements(monkeypatch):
    """Everything that was read from now on."""
    seen = []

    async def noted(reader, statement, values=None):
        seen.append(statement)
        return await raw(reader, statement, values)

    raw = Reader.raw
    monkeypatch.setattr(Reader, "raw", noted)
    return seen
