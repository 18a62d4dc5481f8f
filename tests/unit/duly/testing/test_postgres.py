import os
import tempfile
from pathlib import Path

import psycopg
import pytest

from duly.testing import postgres
from duly.testing.postgres import PostgresMissingError, PostgresServer, postgres_programs


def ask(url, query):
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return connection.execute(query).fetchone()[0]


def test_each_test_has_a_database_of_its_own(postgres_server, postgres_url):
    other = postgres_server.create_database()

    assert ask(postgres_url, "SELECT current_database()") != ask(other, "SELECT current_database()")
    assert ask(postgres_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    postgres_server.drop_database(other)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        ask(other, "SELECT 1")


def test_a_database_can_be_dropped_under_its_users(postgres_server):
    url = postgres_server.create_database()

    with psycopg.connect(url.replace("+psycopg", "")):
        postgres_server.drop_database(url)


def test_the_server_is_not_run_by_root(postgres_server):
    if os.geteuid() == 0:
        assert Path(postgres_server.folder / "data").stat().st_uid != 0
        assert Path(f"/proc/{postgres_server.process.pid}").stat().st_uid != 0


def test_the_data_survives_a_stop(postgres_server):
    with (
        tempfile.TemporaryDirectory(prefix="duly-postgres-") as folder,
        PostgresServer(folder=Path(folder)) as server,
    ):
        url = server.create_database()
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE kept (id integer)")
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            ask(url, "SELECT 1")
        server.start()

        assert ask(url, "SELECT count(*) FROM kept") == 0


def test_a_missing_postgresql_is_reported_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PostgresMissingError, match="install Debian's postgresql"):
        postgres_programs()
