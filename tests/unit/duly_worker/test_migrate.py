import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from duly.errors import ConfigError
from duly.orders.session import OrdersDownError, open_engine
from duly.runtime.settings import DatabaseSettings
from duly_worker.migrate import check_schema, migrate, wait_for_schema
from duly_worker.settings import Settings


def at(url):
    return Settings(database=DatabaseSettings(url=SecretStr(url)))


async def test_the_second_migration_finds_nothing_to_do(settings, revisions):
    assert await migrate(settings) == revisions
    assert await migrate(settings) == []


async def test_two_at_once_do_the_work_once(settings, revisions):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(migrate(settings)) for _ in range(2)]

    assert sorted(task.result() for task in tasks) == [[], revisions]


async def test_the_folder_of_the_file_is_created(tmp_path):
    await migrate(at(f"sqlite+aiosqlite:///{tmp_path}/.duly/orders.db"))

    assert (tmp_path / ".duly" / "orders.db").exists()


async def test_an_existing_schema_is_not_waited_for(settings):
    await migrate(settings)

    await wait_for_schema(settings, patience=timedelta(seconds=90))


async def test_waiting_ends_after_a_migration(settings):
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_for_schema(settings))
        group.create_task(migrate(settings))

    assert waiting.done()


async def test_waiting_in_vain_reports_what_is_missing(settings, revisions):
    with pytest.raises(
        OrdersDownError, match=f"still lacks revision {', '.join(revisions)} after 3 s"
    ):
        await wait_for_schema(settings, patience=timedelta(seconds=3))


async def test_a_check_says_what_is_missing_and_changes_nothing(settings, revisions):
    expected = "(there is no file|lacks revision 0001, .*) .*migrate; for tables of your own"
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"^database\.url: .*{expected}"):
            await check_schema(settings)

    assert await migrate(settings) == revisions
    await check_schema(settings)


async def test_waiting_for_tables_of_somebody_else_ends_at_once(settings):
    async with open_engine(settings.database) as engine, engine.begin() as connection:
        await connection.execute(text("CREATE TABLE orders (number INTEGER, state TEXT)"))

    for look in (wait_for_schema, check_schema, migrate):
        with pytest.raises(ConfigError, match=r"not ours .*: orders \(number, state\)"):
            await look(settings)


async def test_waiting_for_a_wrong_address_ends_at_once():
    with pytest.raises(ConfigError, match="driver 'mysql' is not supported"):
        await wait_for_schema(at("mysql://db/orders"))
