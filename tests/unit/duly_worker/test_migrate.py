import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr

from duly.errors import ConfigError
from duly.orders.session import OrdersDownError
from duly.runtime.settings import DatabaseSettings
from duly_worker.migrate import migrate, wait_for_schema
from duly_worker.settings import Settings


def at(url):
    return Settings(database=DatabaseSettings(url=SecretStr(url)))


async def test_the_second_migration_finds_nothing_to_do(settings):
    assert await migrate(settings) == ["0001"]
    assert await migrate(settings) == []


async def test_two_at_once_do_the_work_once(settings):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(migrate(settings)) for _ in range(2)]

    assert sorted(task.result() for task in tasks) == [[], ["0001"]]


async def test_the_folder_of_the_file_is_created(tmp_path):
    await migrate(at(f"sqlite+aiosqlite:///{tmp_path}/.duly/orders.db"))

    assert (tmp_path / ".duly" / "orders.db").exists()


async def test_a_schema_that_is_there_is_not_waited_for(settings):
    await migrate(settings)

    await wait_for_schema(settings, patience=timedelta(seconds=90))


async def test_waiting_ends_when_somebody_migrates(settings):
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_for_schema(settings))
        group.create_task(migrate(settings))

    assert waiting.done()


async def test_waiting_in_vain_tells_what_is_missing(settings):
    with pytest.raises(OrdersDownError, match=r"still lacks revision 0001 after 3 s"):
        await wait_for_schema(settings, patience=timedelta(seconds=3))


async def test_waiting_for_a_wrong_address_ends_at_once():
    with pytest.raises(ConfigError, match="driver 'mysql' is not supported"):
        await wait_for_schema(at("mysql://db/orders"))
