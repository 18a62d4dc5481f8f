import signal
import subprocess
import sys

import pytest
from sqlalchemy import create_engine, text

from duly.integrations.outbox import Outbox
from duly.job import Job
from duly.testing.waiting import wait_until


class Bill(Job, kind="bill"):
    """Bills an order."""

    order_id: int


@pytest.fixture
def url(tmp_path):
    """The address of a database with an outbox of two rows, as an application may write it."""
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    engine, outbox = create_engine(url), Outbox()
    with engine.begin() as connection:
        for statement in outbox.ddl("sqlite"):
            connection.execute(text(statement))
        outbox.add(connection, Bill(order_id=1))
        outbox.add(connection, Bill(order_id=2))
    engine.dispose()
    return url.replace("sqlite:", "sqlite+aiosqlite:")


def test_the_table_is_printed_and_not_created(duly):
    printed = duly("outbox", "ddl", "--table", "jobs.outbox").out

    assert "CREATE TABLE jobs.outbox (" in printed
    assert printed.count(";\n") == 3
    assert "def upgrade() -> None:" in duly("outbox", "migration", "--dialect", "sqlite").out


def test_a_dialect_or_an_address_that_is_unknown_is_refused(duly):
    assert "unknown dialect 'nosuch'" in duly("outbox", "ddl", "--dialect", "nosuch").err
    refused = duly("outbox", "status", "--database", "postgresql:secret")
    assert refused.exit_code == 2
    assert "secret" not in refused.err


def test_a_status_tells_what_waits(duly, url, monkeypatch):
    assert duly("outbox", "status", "--database", url).out.startswith("2 waiting, the oldest for")
    monkeypatch.setenv("OUTBOX_DATABASE_URL", url)
    found = duly("outbox", "status", "--json").json
    assert (found["waiting"], found["refused"]) == (2, 0)
    failed = duly("outbox", "status", "--table", "nosuch")
    assert (failed.exit_code, failed.err.count("\n")) == (1, 1)


def test_what_no_option_says_the_settings_do(duly, url, monkeypatch):
    missing = duly("outbox", "status")
    assert (missing.exit_code, "the setting outbox.url" in missing.err) == (2, True)
    monkeypatch.setenv("DULY_OUTBOX__URL", url)

    assert duly("outbox", "status", "--json").json["waiting"] == 2
    monkeypatch.setenv("DULY_OUTBOX__TABLE", "shop.jobs")
    assert "CREATE TABLE shop.jobs (" in duly("outbox", "ddl").out
    assert "CREATE TABLE shop.jobs (" in duly("outbox", "migration").out
    assert duly("outbox", "status").exit_code == 1, "there is no such table"


def test_a_relay_works_until_it_is_stopped(url, broker_settings):
    address = f"redis://127.0.0.1:{broker_settings.port}/0"
    words = [sys.executable, "-m", "duly.cli", "--redis-url", address, "outbox", "relay"]
    with subprocess.Popen([*words, "--database", url]) as process:
        engine = create_engine(url.replace("+aiosqlite", ""))
        try:
            wait_until(
                lambda: Outbox().report(engine).waiting == 0, timeout=60, what="no row waits"
            )
        finally:
            process.send_signal(signal.SIGTERM)
            engine.dispose()
        assert process.wait(60) == 0
