"""Of several relays on a SQLite file one works at a time, whatever becomes of its process."""

import os
import signal

import pytest
from sqlalchemy import create_engine

from duly.integrations.sole_relay import SoleRelay


@pytest.fixture
def sqlite_engine(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    yield engine
    engine.dispose()


def test_one_has_the_right_until_it_gives_it_up(sqlite_engine):
    first, second = (SoleRelay(sqlite_engine, "duly_outbox") for _ in range(2))

    assert [first.held(), second.held(), first.held()] == [True, False, True]
    first.release()
    first.release()
    assert [second.held(), first.held()] == [True, False]
    second.release()


def test_tables_do_not_share_it(sqlite_engine):
    both = [SoleRelay(sqlite_engine, name) for name in ("one", "other")]

    assert [it.held() for it in both] == [True, True]
    for it in both:
        it.release()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_killed_process_has_it_no_more(sqlite_engine):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, b"1" if SoleRelay(sqlite_engine, "duly_outbox").held() else b"0")
        signal.pause()
    other = SoleRelay(sqlite_engine, "duly_outbox")
    try:
        assert os.read(reader, 1) == b"1"
        assert not other.held()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)

    assert other.held()
    other.release()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql+psycopg://host/x"])
def test_elsewhere_everybody_has_it(url):
    engine = create_engine(url)

    assert SoleRelay(engine, "duly_outbox").held()
    assert SoleRelay(engine, "duly_outbox").held()
    engine.dispose()
