import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from duly.errors import ConfigError
from duly.orders.database import OrdersDatabase
from duly.orders.schema import upgrade
from duly.orders.session import OrdersDownError, open_engine
from duly.orders.source import Sweep
from duly.orders.view import View
from duly.runtime.settings import DatabaseSettings
from duly.testing.postgres import PostgresServer


async def test_the_pages_are_those_of_the_pending_orders(database, fill):
    await fill(25, others=5)

    async with OrdersDatabase.open(database) as orders:
        pages = [page async for page in orders.pages(Sweep(items=True, page_size=10))]

    assert [len(page.orders) for page in pages] == [10, 10, 5]
    assert [len(items) for items in pages[0].items] == [2] * 10


async def test_first_checks_at_the_same_time_open_one_engine(database):
    async with OrdersDatabase.open(database) as orders, asyncio.TaskGroup() as group:
        tasks = [group.create_task(orders.engine()) for _ in range(5)]

    assert len({id(task.result()) for task in tasks}) == 1


async def test_the_engine_is_closed_afterwards(database):
    async with OrdersDatabase.open(database) as orders:
        engine = await orders.engine()
        async with engine.connect():
            pass
        assert engine.pool.checkedin() == 1

    assert engine.pool.checkedin() == 0


async def test_a_wrong_address_is_refused_at_the_start(tmp_path):
    with pytest.raises(ConfigError, match="there is no folder"):
        async with OrdersDatabase.open(DatabaseSettings(url=f"sqlite:///{tmp_path}/none/o.db")):
            pass


def test_an_open_database_has_loaded_nothing_of_sqlalchemy(tmp_path):
    code = (
        "import asyncio, sys\n"
        "from duly.orders.database import OrdersDatabase\n"
        "from duly.runtime.settings import DatabaseSettings\n"
        "async def main():\n"
        f"    async with OrdersDatabase.open(DatabaseSettings(url='sqlite:///{tmp_path}/o.db')):\n"
        "        return [n for n in ('sqlalchemy', 'aiosqlite', 'psycopg') if n in sys.modules]\n"
        "print(asyncio.run(main()))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "[]\n"


@pytest.fixture
async def on_postgres(postgres_url):
    """The settings of a PostgreSQL database with 25 pending orders."""
    given = DatabaseSettings(url=postgres_url)
    async with open_engine(given) as engine:
        await upgrade(engine)
        async with engine.begin() as connection:
            await connection.exec_driver_sql(
                "INSERT INTO customers (username, email) VALUES ('a', 'a@b')"
            )
            await connection.exec_driver_sql(
                "INSERT INTO orders (customer_id, status, created_at, updated_at) "
                "SELECT 1, 'pending', now(), now() FROM generate_series(1, 25)"
            )
    return given


async def sweep(orders, between, **options):
    """Read to the end, and call `between` after the first page; return how many orders came."""
    found, told = 0, False
    async for page in orders.pages(Sweep(page_size=10, **options)):
        found += len(page.orders)
        if not told:
            told = True
            await between()
    return found


async def nothing():
    pass


def one_line(raised):
    return "\n" not in str(raised.value) and len(str(raised.value)) < 300


@pytest.mark.fault("database")
@pytest.mark.parametrize("consistent", [False, True])
async def test_a_killed_session_is_one_clear_line_and_the_next_sweep_succeeds(
    on_postgres, consistent
):
    kill = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    async def killed():
        async with open_engine(on_postgres) as engine, engine.connect() as connection:
            await connection.exec_driver_sql(kill)

    async with OrdersDatabase.open(View(database=on_postgres, consistent=consistent)) as orders:
        with pytest.raises(OrdersDownError, match="terminating connection") as raised:
            await sweep(orders, killed)

        assert one_line(raised)
        assert await sweep(orders, nothing) == 25


@pytest.mark.fault("database")
async def test_a_table_that_is_locked_is_one_clear_line(on_postgres):
    async with (
        open_engine(on_postgres) as engine,
        engine.connect() as connection,
        OrdersDatabase.open(on_postgres) as orders,
    ):

        async def locked():
            await connection.exec_driver_sql("LOCK TABLE orders")

        with pytest.raises(OrdersDownError, match="lock timeout") as raised:
            await sweep(orders, locked)

        assert one_line(raised)
        await connection.rollback()
        assert await sweep(orders, nothing) == 25


@pytest.mark.fault("database")
async def test_a_server_that_stopped_is_one_clear_line_and_may_come_back():
    with (
        tempfile.TemporaryDirectory(prefix="duly-postgres-") as folder,
        PostgresServer(folder=Path(folder)) as server,
    ):
        given = DatabaseSettings(url=server.create_database())
        async with open_engine(given) as engine:
            await upgrade(engine)
        async with OrdersDatabase.open(given) as orders:
            assert await sweep(orders, nothing) == 0
            server.stop()
            with pytest.raises(OrdersDownError, match=f":{server.port}/test_1 cannot") as raised:
                await sweep(orders, nothing)
            assert one_line(raised)
            server.start()
            assert await sweep(orders, nothing) == 0
