import asyncio

import pytest
from sqlalchemy import inspect, text

from duly.orders.schema import VERSION_TABLE, downgrade, missing, upgrade
from duly.orders.session import open_engine


async def tables(engine):
    async with engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    return sorted(names)


async def test_an_empty_database_lacks_every_revision(empty_engine):
    assert await missing(empty_engine) == ["0001"]


async def test_upgrading_tells_what_was_applied_and_is_idempotent(empty_engine):
    first = await upgrade(empty_engine)
    second = await upgrade(empty_engine)

    assert first == ["0001"]
    assert second == []
    assert await missing(empty_engine) == []


async def test_downgrading_leaves_nothing_but_the_version_table(engine):
    taken_back = await downgrade(engine)

    assert taken_back == ["0001"]
    assert await tables(engine) == [VERSION_TABLE]
    assert await upgrade(engine) == ["0001"]


async def test_of_two_migrations_at_once_one_does_the_work(database):
    async with (
        open_engine(database) as one,
        open_engine(database) as other,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(upgrade(engine)) for engine in (one, other)]

    assert sorted(task.result() for task in tasks) == [[], ["0001"]]


async def test_a_failed_migration_leaves_nothing_behind(empty_engine):
    async with empty_engine.begin() as connection:
        await connection.execute(text("CREATE TABLE order_items (id INTEGER)"))

    with pytest.raises(Exception, match="order_items"):
        await upgrade(empty_engine)

    assert await tables(empty_engine) == ["order_items"]


async def test_a_database_newer_than_the_program_is_left_alone(engine):
    async with engine.begin() as connection:
        await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))

    assert await upgrade(engine) == []
    assert await missing(engine) == []
    assert "orders" in await tables(engine)
