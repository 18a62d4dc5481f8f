import asyncio
import socket

import pytest
from sqlalchemy import insert, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from duly.errors import ConfigError
from duly.orders.queries import pending_pages
from duly.orders.session import (
    OrdersDownError,
    create_folder,
    exclusive,
    explained,
    open_engine,
)
from duly.orders.source import Sweep
from duly.orders.tables import CUSTOMERS
from duly.runtime.settings import DatabaseSettings


def settings(url, **changes):
    return DatabaseSettings(url=url, **changes)


async def use(given):
    with explained(given):
        async with open_engine(given) as engine, engine.connect() as connection:
            await connection.execute(text("SELECT 1"))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql+aiomysql://duly:hunter2@db/orders", "the driver 'mysql\\+aiomysql' is not"),
        ("postgresql+psycopg2://duly:hunter2@db/orders", "'postgresql\\+psycopg2' is not"),
        ("hunter2 is the password", "is not the address of a database"),
        ("", "is not the address of a database"),
        ("sqlite+aiosqlite://", "in memory is not supported"),
        ("sqlite+aiosqlite:///:memory:", "in memory is not supported"),
        ("sqlite+aiosqlite:////no/such/folder/orders.db", "there is no folder /no/such/folder"),
    ],
)
async def test_a_wrong_address_is_one_clear_error_without_its_password(url, problem):
    with pytest.raises(ConfigError, match=f"^database.url: .*{problem}") as raised:
        await use(settings(url))

    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.remedy


async def test_a_file_that_is_not_a_database_is_one_clear_error(tmp_path):
    file = tmp_path / "orders.db"
    file.write_text("not a database, by far. " * 100)

    with pytest.raises(ConfigError, match=f"^database.url: {file} cannot be used: file is not a"):
        await use(settings(f"sqlite+aiosqlite:///{file}"))


async def test_a_folder_in_place_of_a_file_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="unable to open database file"):
        await use(settings(f"sqlite+aiosqlite:///{tmp_path}"))


@pytest.fixture
def silent_port():
    """A port that is taken, and that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.fault("database")
async def test_an_unreachable_server_is_one_clear_error(silent_port):
    port = silent_port
    url = f"postgresql+psycopg://duly:hunter2@127.0.0.1:{port}/orders"

    with pytest.raises(OrdersDownError, match=f"127.0.0.1:{port}/orders cannot be") as raised:
        await use(settings(url))

    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_a_missing_database_is_one_clear_error(postgres_server):
    with pytest.raises(OrdersDownError, match='database "nowhere" does not exist'):
        await use(settings(postgres_server.url("nowhere")))


async def test_a_missing_schema_names_the_command_that_creates_it(database, empty_engine):
    expected = r"has no orders schema .*duly_worker migrate"
    with pytest.raises(ConfigError, match=expected), explained(database):
        await anext(pending_pages(empty_engine, Sweep()))


def test_a_folder_is_created_in_one_that_exists(tmp_path):
    create_folder(settings(f"sqlite+aiosqlite:///{tmp_path}/one/orders.db"))

    assert (tmp_path / "one").is_dir()
    with pytest.raises(ConfigError, match="two/three cannot be created"):
        create_folder(settings(f"sqlite+aiosqlite:///{tmp_path}/two/three/orders.db"))


async def test_postgresql_gets_the_limits_and_the_application_name(postgres_url):
    async with (
        open_engine(
            settings(postgres_url, statement_timeout="1500ms"), application="duly-test"
        ) as engine,
        engine.connect() as connection,
    ):
        shown = {
            name: await connection.scalar(text(f"SHOW {name}"))
            for name in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "application_name",
            )
        }

    assert shown == {
        "statement_timeout": "1500ms",
        "lock_timeout": "1s",
        "idle_in_transaction_session_timeout": "10s",
        "application_name": "duly-test",
    }


async def test_options_of_the_address_take_precedence(postgres_url):
    url = f"{postgres_url}?application_name=mine&options=-c%20lock_timeout%3D5000"
    async with open_engine(settings(url)) as engine, engine.connect() as connection:
        assert await connection.scalar(text("SHOW application_name")) == "mine"
        assert await connection.scalar(text("SHOW lock_timeout")) == "5s"
        assert await connection.scalar(text("SHOW statement_timeout")) == "4s"


@pytest.mark.fault("database")
async def test_a_statement_that_takes_too_long_is_ended(postgres_url):
    limits = settings(postgres_url, statement_timeout="50ms")
    async with open_engine(limits) as engine, engine.connect() as connection:
        with pytest.raises(DBAPIError, match="statement timeout"):
            await connection.execute(text("SELECT pg_sleep(30)"))


@pytest.mark.fault("database")
async def test_errors_contain_no_values(engine):
    row = {"username": "a", "email": "secret@example.com"}
    async with engine.begin() as connection:
        await connection.execute(insert(CUSTOMERS), [row])

        with pytest.raises(IntegrityError) as raised:
            await connection.execute(insert(CUSTOMERS), [row])

    assert "secret@example.com" not in str(raised.value)


@pytest.mark.fault("database")
async def test_a_dead_connection_is_replaced_before_use(postgres_server, postgres_url):
    async with open_engine(settings(postgres_url, pool_size=1)) as engine:
        async with engine.connect() as connection:
            pid = await connection.scalar(text("SELECT pg_backend_pid()"))
        async with (
            open_engine(settings(postgres_server.url())) as other,
            other.connect() as connection,
        ):
            await connection.execute(text(f"SELECT pg_terminate_backend({pid}, 5000)"))

        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT pg_backend_pid()")) != pid


async def test_exclusive_transactions_run_one_at_a_time(database):
    inside, most = 0, 0

    async def enter(engine):
        nonlocal inside, most
        async with exclusive(engine):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with (
        open_engine(database) as one,
        open_engine(database) as other,
        asyncio.timeout(90),
        asyncio.TaskGroup() as group,
    ):
        for engine in (one, other) * 4:
            group.create_task(enter(engine))

    assert most == 1


async def test_a_connection_that_only_reads_refuses_changes(database, engine):
    async with open_engine(database, read_only=True) as reading, reading.connect() as connection:
        with pytest.raises(DBAPIError, match=r"read-?only"):
            await connection.execute(text("DELETE FROM orders"))


async def test_tables_of_somebody_else_are_named(database, empty_engine):
    async with empty_engine.begin() as connection:
        await connection.execute(text("CREATE TABLE customers (id INTEGER, name TEXT)"))
        await connection.execute(text("CREATE TABLE orders (number INTEGER, status TEXT)"))

    expected = "has tables of the same names that are not ours: .*orders.source to sql"
    with pytest.raises(ConfigError, match=expected) as raised, explained(database):
        await anext(pending_pages(empty_engine, Sweep()))

    assert "\n" not in str(raised.value)


async def test_statements_are_planned_for_their_values_each_time(postgres_url):
    # For "any values" PostgreSQL reads all items for each page: 212 ms instead of 3.
    async with open_engine(settings(postgres_url)) as engine, engine.connect() as connection:
        for number in range(10):
            await connection.execute(text("SELECT :number + 1"), {"number": number})

        prepared = await connection.scalar(text("SELECT count(*) FROM pg_prepared_statements"))

    assert prepared == 0


async def test_a_new_address_in_the_file_counts_for_the_next_connection(database, tmp_path):
    url = make_url(database.url.get_secret_value())
    if url.get_backend_name() != "postgresql":
        pytest.skip("files have no users")
    path = tmp_path / "url"
    path.write_text(f"{url.render_as_string(hide_password=False)}\n")
    given = DatabaseSettings(url_file=str(path))

    async def user(engine):
        async with engine.connect() as connection:
            asked = await connection.execute(text("SELECT current_user"))
            limit = await connection.execute(text("SHOW statement_timeout"))
            return asked.one()[0], limit.scalar_one()

    async with open_engine(given) as engine:
        name, limit = await user(engine)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE ROLE rotated LOGIN"))
        try:
            path.write_text(url.set(username="rotated").render_as_string(hide_password=False))
            assert await user(engine) == (name, limit)  # What is connected stays so.
            await engine.dispose()
            assert await user(engine) == ("rotated", limit)
        finally:
            path.write_text(url.render_as_string(hide_password=False))
            await engine.dispose()
            async with engine.begin() as connection:
                await connection.execute(text("DROP ROLE rotated"))
