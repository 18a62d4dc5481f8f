import asyncio
import threading

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from duly.errors import ConfigError
from duly.orders import schema
from duly.orders.schema import VERSION_TABLE, downgrade, missing, upgrade
from duly.orders.session import exclusive, open_engine


async def tables(engine):
    async with engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    return sorted(names)


async def test_an_empty_database_lacks_every_revision(empty_engine, revisions):
    assert await missing(empty_engine) == revisions


async def test_upgrade_returns_what_was_applied_and_is_idempotent(empty_engine, revisions):
    first = await upgrade(empty_engine)
    second = await upgrade(empty_engine)

    assert first == revisions
    assert second == []
    assert await missing(empty_engine) == []


async def test_downgrading_leaves_nothing_but_the_version_table(engine, revisions):
    taken_back = await downgrade(engine)

    assert taken_back == revisions[::-1]
    assert await tables(engine) == [VERSION_TABLE]
    assert await upgrade(engine) == revisions


async def test_of_two_migrations_at_once_one_does_the_work(database, revisions):
    async with (
        open_engine(database) as one,
        open_engine(database) as other,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(upgrade(engine)) for engine in (one, other)]

    assert sorted(task.result() for task in tasks) == [[], revisions]


async def test_tables_of_somebody_else_are_named_and_left_alone(empty_engine):
    async with empty_engine.begin() as connection:
        await connection.execute(text("CREATE TABLE orders (number INTEGER, state TEXT)"))

    for ask in (upgrade, missing):
        with pytest.raises(ConfigError, match=r"not ours .*: orders \(number, state\)"):
            await ask(empty_engine)

    assert await tables(empty_engine) == ["orders"]


async def test_who_looks_while_the_first_revision_arrives_takes_its_tables_for_ours(
    empty_engine, database, revisions, monkeypatch
):
    """What it looks at comes in several statements; a worker must not end for what lies between."""
    look, looks = schema._current, []

    async def migrated():
        async with open_engine(database) as other:
            await upgrade(other, revisions[0])

    def current(connection):
        found = look(connection)
        looks.append(found)
        if len(looks) == 2:  # whether it is newer, whether it is ours
            monkeypatch.setattr(schema, "_current", look)
            migrating = threading.Thread(target=lambda: asyncio.run(migrated()))
            migrating.start()
            migrating.join()
        return found

    monkeypatch.setattr(schema, "_current", current)

    assert await missing(empty_engine) == revisions[1:]
    assert looks == [None, None]


async def test_a_failed_migration_leaves_nothing_of_itself_behind(empty_engine):
    async with empty_engine.begin() as connection:
        await connection.execute(text("CREATE TABLE notes (id INTEGER PRIMARY KEY)"))
        # The name of an index that the first revision creates at its end.
        await connection.execute(text("CREATE INDEX ix_order_items_order_id ON notes (id)"))

    with pytest.raises(DBAPIError, match="ix_order_items_order_id"):
        await upgrade(empty_engine)

    assert {"orders", "customers"}.isdisjoint(await tables(empty_engine))


async def test_a_lock_that_is_taken_is_asked_for_until_it_is_free(database, revisions):
    async with (
        asyncio.timeout(90),
        open_engine(database) as one,
        open_engine(database) as other,
        asyncio.TaskGroup() as group,
        exclusive(one) as connection,
    ):
        waiting = group.create_task(upgrade(other))
        await connection.exec_driver_sql("SELECT 1")
        assert not waiting.done()

    assert waiting.result() == revisions


async def test_a_database_newer_than_the_program_is_left_alone(engine):
    async with engine.begin() as connection:
        await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))

    assert await upgrade(engine) == []
    assert await missing(engine) == []
    assert "orders" in await tables(engine)
