import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from duly.orders.reader import reading
from duly.orders.session import open_engine
from duly.orders.view import View
from duly.runtime.settings import DatabaseSettings
from duly.testing.postgres import PostgresServer


async def test_rows_come_as_the_driver_gives_them(empty_engine):
    async with reading(empty_engine, View()) as reader:
        names, rows = await reader.raw(reader.quoted("SELECT 1 AS one, 'a%b' AS two"))

    assert (names, [tuple(row) for row in rows]) == (["one", "two"], [(1, "a%b")])


async def test_no_transaction_is_left_open_between_two_pages(postgres_url):
    given = DatabaseSettings(url=postgres_url)
    asked = text("SELECT state FROM pg_stat_activity WHERE application_name = 'reads'")
    async with (
        open_engine(given, application="reads") as engine,
        open_engine(given, application="looks") as other,
        reading(engine, View()) as reader,
        other.connect() as connection,
    ):
        await reader.raw("SELECT 1")

        assert await connection.scalar(asked) == "idle"


@pytest.mark.fault("database")
async def test_a_silent_database_is_left(postgres_url):
    limit = DatabaseSettings(url=postgres_url, statement_timeout=timedelta(milliseconds=50))
    async with open_engine(DatabaseSettings(url=postgres_url)) as engine:
        with pytest.raises(TimeoutError):
            async with reading(engine, View(database=limit)) as reader:
                await reader.raw("SELECT pg_sleep(60)")


@pytest.fixture
def standby(postgres_server, postgres_url):
    """A replica of the server of the tests, in a database of its own there."""
    with tempfile.TemporaryDirectory(prefix="duly-standby-") as folder:
        server = PostgresServer(folder=Path(folder))
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        source = ("-h", "127.0.0.1", "-p", str(postgres_server.port), "-U", "duly")
        server._run("pg_basebackup", *source, "-D", server._data, "-R", "-c", "fast", "--no-sync")
        server.start()
        yield server
        server.stop()


async def test_a_replica_says_how_far_it_is_behind(standby, postgres_url, until):
    there = standby.url(postgres_url.rpartition("/")[2])
    view = View(database=DatabaseSettings(url=SecretStr(there)), key="orders.replica_url")
    async with (
        open_engine(DatabaseSettings(url=SecretStr(postgres_url))) as primary,
        open_engine(view.database) as replica,
    ):
        async with primary.begin() as connection:
            await connection.exec_driver_sql("CREATE TABLE seen (n INT)")

        async def has_it():
            async with reading(replica, view) as reader:
                _, rows = await reader.raw("SELECT 1 FROM pg_tables WHERE tablename = 'seen'")
                return bool(rows)

        await until(has_it, timeout=60)
        async with reading(replica, view) as reader:
            assert await reader.lag() == 0
            await reader.raw("SELECT pg_wal_replay_pause()")
        async with primary.begin() as connection:
            await connection.exec_driver_sql("INSERT INTO seen VALUES (1)")

        async def lags():
            async with reading(replica, view) as reader:
                return await reader.lag() > 0

        await until(lags, timeout=60)


async def test_a_primary_has_no_lag(empty_engine):
    async with reading(empty_engine, View()) as reader:
        assert await reader.lag() is None
