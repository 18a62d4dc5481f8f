import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from duly.orders.reader import last_id, reading
from duly.orders.session import open_engine
from duly.orders.view import View
from duly.runtime.packed import PackedRows
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


@pytest.fixture
async def reader(postgres_url):
    async with (
        open_engine(DatabaseSettings(url=postgres_url)) as engine,
        reading(engine, View()) as reader,
    ):
        yield reader


THREE = "SELECT * FROM (VALUES (1, 'ann', 'a@b'), (2, {}, 'c@d'), (3, 'eve', 'e@f')) AS t LIMIT %s"
KINDS = (int, str, str)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
async def test_a_page_of_postgres_comes_packed(reader, size):
    rows, more = await reader.page(THREE.format("'bob'"), (size + 1,), size, KINDS)

    expected = [(1, "ann", "a@b"), (2, "bob", "c@d"), (3, "eve", "e@f")][:size]
    assert isinstance(rows, PackedRows)
    assert (list(rows), more) == (expected, size < 3)
    assert last_id(rows) == expected[-1][0]
    assert not rows.has_empty


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("NULL", None),
        ("chr(28)", "\x1c"),
        ("'a' || chr(31) || 'b'", "a\x1fb"),
        ("chr(31) || '7' || chr(28) || 'mallory' || chr(29)", "\x1f7\x1cmallory\x1d"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5])
async def test_a_page_that_cannot_be_packed_comes_in_rows(reader, written, name, size):
    rows, more = await reader.page(THREE.format(written), (size + 1,), size, KINDS)

    expected = [(1, "ann", "a@b"), (2, name, "c@d"), (3, "eve", "e@f")][:size]
    assert (list(rows), more) == (expected, size < 3)
    assert last_id(rows) == expected[-1][0]


@pytest.fixture
async def sqlite_reader(tmp_path):
    given = DatabaseSettings(url=SecretStr(f"sqlite+aiosqlite:///{tmp_path}/orders.db"))
    async with open_engine(given) as engine, reading(engine, View()) as reader:
        yield reader


OF_SQLITE = """
SELECT * FROM (SELECT 1 AS a, 'ann' AS b, 'a@b' AS c UNION ALL SELECT 2, {}, 'c@d'
UNION ALL SELECT 3, 'eve', 'e@f') ORDER BY a LIMIT ?
"""


@pytest.mark.parametrize("size", [1, 2, 3, 4])
async def test_a_page_of_sqlite_comes_packed(sqlite_reader, size):
    rows, more = await sqlite_reader.page(OF_SQLITE.format("'böb'"), (size + 1,), size, KINDS)

    expected = [(1, "ann", "a@b"), (2, "böb", "c@d"), (3, "eve", "e@f")][:size]
    assert isinstance(rows, PackedRows)
    assert (list(rows), more) == (expected, size < 3)
    assert last_id(rows) == expected[-1][0]
    assert not rows.has_empty


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("NULL", None),
        ("char(28)", "\x1c"),
        ("'a' || char(31) || 'b'", "a\x1fb"),
        ("char(31) || '7' || char(28) || 'mallory' || char(29)", "\x1f7\x1cmallory\x1d"),
        ("'a' || char(0) || 'b'", "a\x00b"),
        ("x'ff00'", b"\xff\x00"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5])
async def test_what_sqlite_cannot_pack_comes_in_rows(sqlite_reader, written, name, size):
    rows, more = await sqlite_reader.page(OF_SQLITE.format(written), (size + 1,), size, KINDS)

    expected = [(1, "ann", "a@b"), (2, name, "c@d"), (3, "eve", "e@f")][:size]
    assert ([tuple(row) for row in rows], more) == (expected, size < 3)
    assert last_id(rows) == expected[-1][0]


@pytest.mark.parametrize("names", [("''", "'a@b'"), ("'ann'", "''"), ("''", "''")])
@pytest.mark.parametrize("ids", [(1,), (1, 2), (2, 1)])
async def test_an_empty_text_of_sqlite_is_told(sqlite_reader, names, ids):
    """In the first row, in the last one, and next to the end of a row."""
    one = f"SELECT {ids[0]} AS a, {names[0]} AS b, {names[1]} AS c"
    other = "".join(f" UNION ALL SELECT {each}, 'bob', 'c@d'" for each in ids[1:])
    statement = f"SELECT * FROM ({one}{other}) ORDER BY a LIMIT ?"
    rows, _ = await sqlite_reader.page(statement, (4,), 3, KINDS)

    assert isinstance(rows, PackedRows)
    assert rows.has_empty


async def test_no_rows_of_sqlite_are_no_page(sqlite_reader):
    assert await sqlite_reader.page("SELECT 1, 'a', 'b' LIMIT 0", (), 3, KINDS) == ([], False)


async def test_an_empty_text_is_told(reader):
    rows, _ = await reader.page(THREE.format("''"), (4,), 3, KINDS)

    assert rows.has_empty
    assert rows[1] == (2, "", "c@d")


async def test_no_rows_are_no_page(reader):
    assert await reader.page("SELECT 1, 'a', 'b' LIMIT 0", (), 3, KINDS) == ([], False)


@pytest.mark.parametrize(
    ("columns", "kinds"),
    [
        ("1::smallint, 'a'::text, 'b'::varchar(9)", (int, str, str)),
        ("gen_random_uuid(), 2::bigint", (UUID, int)),
        ("1.5, 'a'", ()),
        ("1, 'a'::char(5)", ()),
    ],
)
async def test_what_postgres_writes_as_a_line_does_can_be_packed(reader, columns, kinds):
    assert await reader.kinds(f"SELECT {columns}", ()) == kinds


async def test_an_error_says_what_sqlalchemy_would(reader):
    with pytest.raises(ProgrammingError, match="none"):
        await reader.raw("SELECT 1 FROM none")

    _, rows = await reader.raw("SELECT 1")
    assert rows == [(1,)]


@pytest.mark.fault("database")
async def test_a_session_that_was_ended_is_not_used_again(postgres_url):
    async with open_engine(DatabaseSettings(url=postgres_url, pool_size=1)) as engine:
        with pytest.raises(OperationalError, match="terminating connection"):
            async with reading(engine, View()) as reader:
                await reader.raw("SELECT pg_terminate_backend(pg_backend_pid())")

        async with reading(engine, View()) as reader:
            assert await reader.raw("SELECT 1 AS one") == (["one"], [(1,)])


@pytest.mark.fault("database")
async def test_a_statement_that_was_given_up_leaves_no_answer_behind(postgres_url):
    async with open_engine(DatabaseSettings(url=postgres_url, pool_size=1)) as engine:
        limit = DatabaseSettings(url=postgres_url, statement_timeout=timedelta(milliseconds=50))
        with pytest.raises(TimeoutError):
            async with reading(engine, View(database=limit)) as reader:
                await reader.raw("SELECT pg_sleep(60)")

        async with reading(engine, View()) as reader:
            assert await reader.raw("SELECT 2 AS two") == (["two"], [(2,)])


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
