from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import StatementError

from duly.orders.columns import PLACES
from duly.orders.tables import CUSTOMERS, ORDERS, PRODUCTS


async def stored(engine, price):
    async with engine.begin() as connection:
        await connection.execute(insert(PRODUCTS), [{"name": "x", "unit_price": price}])
        return await connection.scalar(select(PRODUCTS.c.unit_price))


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("29.99", "29.99"),
        ("0.1", "0.10"),
        ("5", "5.00"),
        ("1000", "1000.00"),
        ("0", "0.00"),
        ("0.0350", "0.035"),
        ("0.0001", "0.0001"),
        ("-3.5", "-3.50"),
        ("9999999999.9999", "9999999999.9999"),
    ],
)
async def test_a_price_is_read_exactly_with_two_places(engine, given, written):
    price = await stored(engine, Decimal(given))

    assert price == Decimal(given)
    assert format(price, "f") == written


async def test_sums_of_prices_are_exact(engine):
    async with engine.begin() as connection:
        rows = [{"name": "x", "unit_price": Decimal("0.1")} for _ in range(10)]
        await connection.execute(insert(PRODUCTS), rows)
        prices = (await connection.scalars(select(PRODUCTS.c.unit_price))).all()

    assert sum(prices) == Decimal(1)


async def test_prices_are_compared_and_sorted_as_numbers(engine):
    async with engine.begin() as connection:
        rows = [{"name": p, "unit_price": Decimal(p)} for p in ("9.5", "10", "100", "0.02")]
        await connection.execute(insert(PRODUCTS), rows)
        dear = select(PRODUCTS.c.name).where(PRODUCTS.c.unit_price > Decimal("9.5"))
        names = (await connection.scalars(dear.order_by(PRODUCTS.c.unit_price))).all()

    assert names == ["10", "100"]


@pytest.mark.parametrize(
    "price",
    [
        pytest.param(Decimal("0.00001"), id="too fine"),
        pytest.param(Decimal(10000000000), id="too large"),
        pytest.param(Decimal("NaN"), id="not a number"),
        pytest.param(Decimal("Infinity"), id="infinite"),
        pytest.param(29.99, id="a float"),
    ],
)
async def test_a_price_that_cannot_be_stored_exactly_is_refused(engine, price):
    with pytest.raises((StatementError, TypeError), match="price"):
        await stored(engine, price)


async def test_sqlite_stores_whole_numbers(sqlite_url, engine):
    await stored(engine, Decimal("29.99"))
    if engine.dialect.name != "sqlite":
        return

    async with engine.connect() as connection:
        raw = await connection.scalar(text("SELECT unit_price FROM products"))

    assert raw == 2999 * 10 ** (PLACES - 2)


async def test_instants_are_read_in_utc(engine):
    tokyo = datetime(2026, 2, 3, 9, tzinfo=timezone(timedelta(hours=9)))
    async with engine.begin() as connection:
        await connection.execute(insert(CUSTOMERS), [{"username": "a", "email": "a@example.com"}])
        row = {"customer_id": 1, "status": "pending", "created_at": tokyo, "updated_at": tokyo}
        await connection.execute(insert(ORDERS), [row])
        instant = await connection.scalar(select(ORDERS.c.created_at))

    assert instant == datetime(2026, 2, 3, 0, tzinfo=UTC)
    assert instant.tzinfo is UTC


async def test_an_instant_without_a_zone_is_refused(engine):
    naive = datetime(2026, 2, 3, 9)  # noqa: DTZ001 - the point of it
    row = {"customer_id": 1, "status": "pending", "created_at": naive, "updated_at": naive}

    with pytest.raises(StatementError, match="time zone"):
        async with engine.begin() as connection:
            await connection.execute(insert(ORDERS), [row])
