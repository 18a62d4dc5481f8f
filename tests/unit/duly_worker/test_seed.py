import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from pydantic import SecretStr
from sqlalchemy import func, insert, select
from structlog.testing import capture_logs

from duly.errors import ConfigError
from duly.orders.session import open_engine
from duly.orders.tables import CUSTOMERS, ORDER_ITEMS, ORDERS, PRODUCTS
from duly.runtime.settings import DatabaseSettings
from duly_worker.migrate import migrate
from duly_worker.seed import run_once, seed, trickle
from duly_worker.settings import Settings

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)


@pytest.fixture
async def engine(settings):
    await migrate(settings)
    async with open_engine(settings.database) as opened:
        yield opened


async def ask(engine, query):
    async with engine.connect() as connection:
        return (await connection.execute(query)).all()


async def by_status(engine):
    query = select(ORDERS.c.status, func.count()).group_by(ORDERS.c.status)
    return dict(await ask(engine, query))


async def test_forty_of_the_orders_are_pending(engine, settings):
    assert await seed(settings) == 240

    counts = await by_status(engine)
    assert sum(counts.values()) == 240
    assert counts["pending"] == 40
    assert counts["cancelled"] > 0


async def test_orders_have_customers_products_and_items(engine, settings):
    await seed(settings)

    ((customers,),) = await ask(engine, select(func.count()).select_from(CUSTOMERS))
    ((products,),) = await ask(engine, select(func.count()).select_from(PRODUCTS))
    per_order = select(func.count()).select_from(ORDER_ITEMS).group_by(ORDER_ITEMS.c.order_id)
    items = [count for (count,) in await ask(engine, per_order)]
    assert (customers, products, len(items)) == (30, 20, 240)
    assert {1, 2, 3, 4} == set(items)


async def test_an_item_costs_what_its_product_costs(engine, settings):
    await seed(settings)

    prices = select(PRODUCTS.c.unit_price, ORDER_ITEMS.c.unit_price).join(ORDER_ITEMS)
    assert all(product == item for product, item in await ask(engine, prices))


async def test_nothing_is_stored_beside_existing_orders(engine, settings):
    await seed(settings)

    assert await seed(settings) == 0
    assert sum((await by_status(engine)).values()) == 240


async def test_two_at_once_store_the_orders_once(engine, settings):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(seed(settings)) for _ in range(2)]

    assert sorted(task.result() for task in tasks) == [0, 240]
    assert sum((await by_status(engine)).values()) == 240


async def test_the_same_orders_are_stored_each_time(sqlite_url, postgres_url):
    shown = []
    for url in (sqlite_url, postgres_url):
        settings = Settings(database=DatabaseSettings(url=SecretStr(url)))
        await migrate(settings)
        await seed(settings)
        async with open_engine(settings.database) as engine:
            query = select(ORDERS.c.customer_id, ORDERS.c.status).order_by(ORDERS.c.id)
            shown.append(await ask(engine, query))

    assert shown[0] == shown[1]


async def test_without_a_schema_the_error_names_the_command(settings):
    with pytest.raises(ConfigError, match="python -m duly_worker migrate"):
        await seed(settings)


async def test_each_run_keeps_about_forty_orders_pending(engine, settings):
    await seed(settings)
    dice = Random(3)

    runs = [await run_once(engine, dice, NOON) for _ in range(30)]

    counts = await by_status(engine)
    assert 38 <= counts["pending"] <= 44
    assert all(done.added in {1, 2} for done in runs)
    assert sum(done.completed for done in runs) > 0


async def test_the_oldest_orders_are_completed_first(engine, settings):
    await seed(settings)
    oldest = select(func.min(ORDERS.c.id)).where(ORDERS.c.status == "pending")
    ((before,),) = await ask(engine, oldest)

    for _ in range(10):
        await run_once(engine, Random(3), NOON)

    done = await ask(engine, select(ORDERS.c.status, ORDERS.c.updated_at).filter_by(id=before))
    assert done == [("completed", NOON)]


async def test_growth_is_bounded_and_items_are_deleted_with_their_orders(engine, settings):
    await seed(settings)

    done = await run_once(engine, Random(3), NOON, most_orders=100)

    counts = await by_status(engine)
    assert done.deleted == 140 + done.added
    assert sum(counts.values()) == 100
    assert counts["pending"] >= 38
    orphans = select(ORDER_ITEMS.c.id).where(ORDER_ITEMS.c.order_id.not_in(select(ORDERS.c.id)))
    assert await ask(engine, orphans) == []


async def test_pending_orders_are_never_deleted(engine, settings):
    await seed(settings)

    await run_once(engine, Random(3), NOON, most_orders=1)

    assert set(await by_status(engine)) == {"pending"}


async def test_real_orders_are_left_alone(engine, settings):
    await seed(settings)
    async with engine.begin() as connection:
        row = {"username": "real", "email": "somebody@shop.test"}
        await connection.execute(insert(CUSTOMERS), [row])

    with pytest.raises(ConfigError, match="customers that are no demo"):
        await trickle(settings, asyncio.Event())

    assert sum((await by_status(engine)).values()) == 240


async def test_the_trickle_runs_until_stop_is_set(engine, settings, until):
    await seed(settings)
    stop = asyncio.Event()

    async def grown():
        return sum((await by_status(engine)).values()) >= 245

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        group.create_task(trickle(settings, stop, period=timedelta(milliseconds=1)))
        await until(grown)
        stop.set()


async def test_the_trickle_survives_a_database_outage(until):
    url = "postgresql+psycopg://duly@127.0.0.1:1/orders"  # Nobody is there.
    down = Settings(database=DatabaseSettings(url=SecretStr(url)))
    stop = asyncio.Event()

    with capture_logs() as logged:
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            group.create_task(trickle(down, stop, period=timedelta(milliseconds=1)))
            await until(lambda: len(logged) >= 2)
            stop.set()

    assert {line["event"] for line in logged} == {"Demo orders not changed"}
    assert "127.0.0.1:1/orders cannot be used" in logged[0]["error"]
