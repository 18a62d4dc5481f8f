"""A relay inside a worker: closed by default, watched, and it survives what is away."""

import threading
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from duly.errors import ConfigError
from duly.extras import MissingExtraError
from duly.integrations.outbox import Outbox
from duly.integrations.relay import Relay
from duly.integrations.relaying import LOOP, open_engine, outbox_named, relaying
from duly.job import Job
from duly.runtime.settings import OutboxSettings, Settings
from duly.runtime.supervision import Supervisor
from duly.testing.clock import FrozenClock
from duly.testing.processes import free_port

EVERY = timedelta(milliseconds=20)


class Bill(Job, kind="bill"):
    """Bills an order."""

    order_id: int


@pytest.fixture
def registry():
    return CollectorRegistry()


def settings_for(url, broker_settings):
    outbox = OutboxSettings(url=SecretStr(url), every=EVERY)
    return Settings(redis=broker_settings, outbox=outbox)


@pytest.fixture
def kept(database_url):
    """Write jobs into an outbox; its table is there."""
    engine, outbox = create_engine(database_url.replace("+aiosqlite", "")), Outbox()
    with engine.begin() as connection:
        for statement in outbox.ddl(engine.dialect.name):
            connection.execute(text(statement))

    def write(*ids):
        with Session(engine) as session, session.begin():
            for number, task_id in enumerate(ids):
                outbox.add(session, Bill(order_id=number), task_id=task_id)

    yield write
    engine.dispose()


async def test_rows_are_enqueued_while_the_worker_runs(
    kept, database_url, broker_settings, enqueued, until
):
    kept("before")
    registry, supervisor = CollectorRegistry(), Supervisor()
    async with relaying(settings_for(database_url, broker_settings), registry, supervisor):
        await until(lambda: enqueued() == {"before"})
        kept("later")
        await until(lambda: enqueued() == {"before", "later"})
        await until(lambda: registry.get_sample_value("duly_outbox_forwarded_total") == 2)
        assert supervisor.liveness() is None

    kept("afterwards")
    assert enqueued() == {"before", "later"}


async def test_without_an_address_nothing_is_relayed(registry):
    before = threading.active_count()

    async with relaying(Settings(), registry, Supervisor()):
        assert threading.active_count() == before

    assert list(registry.collect()) == []


async def test_what_is_away_is_waited_for_and_counted(broker_settings, registry, until):
    supervisor = Supervisor()
    nowhere = f"postgresql://duly@127.0.0.1:{free_port()}/shop"
    async with relaying(settings_for(nowhere, broker_settings), registry, supervisor):
        await until(lambda: registry.get_sample_value("duly_outbox_errors_total"))
        assert supervisor.liveness() is None


async def test_a_relay_that_ends_again_and_again_fails_liveness(
    sqlite_url, broker_settings, registry, monkeypatch, until
):
    def run(self, stop, beat):
        raise SystemExit(3)

    monkeypatch.setattr(Relay, "run", run)
    supervisor = Supervisor()
    async with relaying(settings_for(sqlite_url, broker_settings), registry, supervisor):
        await until(supervisor.liveness, timeout=60)

        assert supervisor.liveness() == f"loop '{LOOP}' ended 5 times: SystemExit"


async def test_a_relay_that_stands_still_fails_liveness(
    sqlite_url, broker_settings, registry, monkeypatch, until
):
    begun = threading.Event()

    def run(self, stop, beat):
        begun.set()
        stop.wait()

    monkeypatch.setattr(Relay, "run", run)
    clock = FrozenClock()
    supervisor = Supervisor(clock=clock)
    async with relaying(settings_for(sqlite_url, broker_settings), registry, supervisor):
        await until(begun.is_set)
        clock.advance(timedelta(seconds=29))
        assert supervisor.liveness() is None
        clock.advance(timedelta(seconds=2))

        assert supervisor.liveness() == f"loop '{LOOP}' has not moved for 31 s"


@pytest.mark.parametrize("url", ["nonsense", "oracle+none://db/shop", "sqlite+pysqlcipher:///x"])
def test_an_address_that_cannot_be_used_is_refused_without_quoting_it(url):
    with (
        pytest.raises(ConfigError, match=r"^outbox\.url: is no address") as caught,
        open_engine(url),
    ):
        pass

    assert url not in str(caught.value)


async def test_without_sqlalchemy_the_missing_extra_is_named(registry, monkeypatch):
    monkeypatch.setattr("duly.extras.find_spec", lambda _: None)

    with pytest.raises(MissingExtraError, match=r"duly\[orders\]"):
        async with relaying(
            Settings(outbox=OutboxSettings(url=SecretStr("sqlite:///x"))), registry, Supervisor()
        ):
            pass


def test_a_table_may_have_a_schema():
    assert outbox_named("shop.outbox").table.fullname == "shop.outbox"
    assert outbox_named("outbox").table.fullname == "outbox"
