import asyncio

import pytest
from sqlalchemy import func, insert, select, text

from duly.errors import ConfigError
from duly.orders.session import open_engine
from duly.orders.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS
from duly.testing.clock import FrozenClock
from duly_worker import bulk
from duly_worker.bulk import seed_many
from duly_worker.migrate import migrate


@pytest.fixture
async def engine(settings):
    await migrate(settings)
    async with open_engine(settings.database) as opened:
        yield opened


async def ask(engine, query):
    async with engine.connect() as connection:
        return (await connection.execute(query)).all()


async def everything(engine):
    orders = await ask(engine, select(ORDERS).order_by(ORDERS.c.id))
    columns = (ORDER_ITEMS.c.order_id, ORDER_ITEMS.c.product_id, ORDER_ITEMS.c.quantity)
    items = await ask(engine, select(*columns, ORDER_ITEMS.c.unit_price).order_by(*columns))
    return orders, items


async def test_as_many_orders_are_stored_as_were_asked_for(engine, settings):
    told = []
    assert await seed_many(settings, 12_000, pending=5_000, on_progress=told.append) == 12_000

    query = select(ORDERS.c.status, func.count()).group_by(ORDERS.c.status)
    counts = dict(await ask(engine, query))
    assert sum(counts.values()) == 12_000
    assert counts["pending"] == 5_000
    assert counts["cancelled"] > 0
    assert told == [5_000, 10_000, 12_000]


async def test_an_item_costs_what_its_product_costs(engine, settings):
    await seed_many(settings, 50)

    query = select(ORDER_ITEMS.c.unit_price, PRODUCTS.c.unit_price).join(
        PRODUCTS, PRODUCTS.c.id == ORDER_ITEMS.c.product_id
    )
    prices = await ask(engine, query)
    assert prices
    assert all(paid == price for paid, price in prices)


async def test_what_was_interrupted_goes_on_and_makes_the_same(engine, settings, monkeypatch):
    clock = FrozenClock()
    await seed_many(settings, 300, clock=clock)
    whole = await everything(engine)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM orders WHERE id > 120"))
    clock.advance(3600)

    assert await seed_many(settings, 300, clock=clock) == 180
    assert await everything(engine) == whole
    assert await seed_many(settings, 300, clock=clock) == 0


async def test_two_at_once_store_each_order_once(engine, settings, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 20)

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        tasks = [group.create_task(seed_many(settings, 200)) for _ in range(2)]

    assert sum(task.result() for task in tasks) == 200
    assert await ask(engine, select(func.count()).select_from(ORDERS)) == [(200,)]


async def test_further_orders_get_numbers_of_their_own(engine, settings):
    await seed_many(settings, 10)
    (row,) = await ask(engine, select(ORDERS).where(ORDERS.c.id == 1))
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    async with engine.begin() as connection:
        await connection.execute(insert(ORDERS), [values])

    assert await ask(engine, select(func.max(ORDERS.c.id))) == [(11,)]


async def test_a_database_of_real_customers_is_left_alone(engine, settings):
    async with engine.begin() as connection:
        await connection.execute(
            insert(CUSTOMERS), [{"username": "ann", "email": "ann@real.example"}]
        )

    with pytest.raises(ConfigError, match="holds customers or products that are no demo"):
        await seed_many(settings, 10)

    assert await ask(engine, select(func.count()).select_from(ORDERS)) == [(0,)]
