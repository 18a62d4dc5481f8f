import asyncio
import threading
from contextlib import suppress

import pytest
from sqlalchemy import text

from duly.orders.session import open_engine
from duly.runtime.settings import DatabaseSettings

LONG = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
    "SELECT max(i) FROM n"
)


@pytest.fixture
def settings(sqlite_url):
    return DatabaseSettings(url=sqlite_url)


async def test_reads_are_possible_during_a_write(settings):
    async with open_engine(settings) as engine, engine.connect() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"


async def test_foreign_keys_are_enforced_and_locks_are_awaited(settings):
    async with open_engine(settings) as engine, engine.connect() as connection:
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert await connection.scalar(text("PRAGMA busy_timeout")) == 4000


async def test_a_new_file_can_be_opened_by_many_at_once(settings):
    async def look():
        async with open_engine(settings) as engine, engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(look())


@pytest.mark.parametrize("statement", ["SELECT 1", LONG])
async def test_no_thread_is_left_after_a_cancelled_statement(settings, statement):
    before = set(threading.enumerate())

    async with open_engine(settings) as engine:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.002), engine.connect() as connection:
                await connection.execute(text(statement))

    left = {thread for thread in threading.enumerate() if "_connection_worker" in thread.name}
    assert left <= before
