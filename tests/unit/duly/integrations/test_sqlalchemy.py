"""What is enqueued on commit follows the transaction, savepoints included."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import Integer, create_engine, event, select
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from duly.engine.enqueue.blocking_client import BlockingClient
from duly.engine.enqueue.client import Client
from duly.errors import BrokerDownError, DuplicateTaskError, InvalidOptionError
from duly.integrations.requests import NotEnqueuedError
from duly.integrations.sqlalchemy import enqueue_on_commit
from duly.job import Job
from duly.runtime.settings import RedisSettings
from duly.testing.processes import free_port

MINUTE = timedelta(minutes=1)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)


class Bill(Job, kind="bill"):
    """Bills an order."""

    order_id: int


@pytest.fixture
def sessions(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    _let_savepoints_work(engine)
    Base.metadata.create_all(engine)
    yield sessionmaker(engine)
    engine.dispose()


def _let_savepoints_work(engine):
    """The driver begins transactions of its own otherwise, and commits them at a savepoint."""

    @event.listens_for(engine, "connect")
    def _connect(connection, _):
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection):
        connection.exec_driver_sql("BEGIN")


def test_jobs_are_enqueued_once_the_transaction_is_committed(sessions, client, enqueued):
    with sessions() as session:
        session.add(Order(id=1))
        first = enqueue_on_commit(session, client, Bill(order_id=1))
        second = enqueue_on_commit(session, client, Bill(order_id=2), task_id="mine")
        session.flush()
        assert enqueued() == set()
        session.commit()
        assert enqueued() == {first, second}
        session.commit()
        enqueue_on_commit(session, client, Bill(order_id=3), task_id="next")
        session.commit()

    assert enqueued() == {first, "mine", "next"}


def test_nothing_is_enqueued_when_it_is_rolled_back(sessions, client, enqueued):
    with sessions() as session:
        enqueue_on_commit(session, client, Bill(order_id=1))
        session.rollback()
        session.commit()
        enqueue_on_commit(session, client, Bill(order_id=2))
    with suppress(LookupError), sessions.begin() as session:
        session.add(Order(id=1))
        enqueue_on_commit(session, client, Bill(order_id=1))
        raise LookupError

    assert enqueued() == set()


def test_nothing_is_enqueued_when_the_commit_fails(sessions, client, enqueued):
    with sessions.begin() as session:
        session.add(Order(id=1))
    with sessions() as session:
        enqueue_on_commit(session, client, Bill(order_id=1))
        session.add(Order(id=1))
        with pytest.raises(Exception, match="UNIQUE"):
            session.commit()
        session.rollback()
        session.commit()

    assert enqueued() == set()


def test_a_savepoint_takes_back_what_was_asked_for_within_it(sessions, client, enqueued):
    def ask(name):
        enqueue_on_commit(session, client, Bill(order_id=1), task_id=name)

    with sessions.begin() as session:
        ask("before")
        with session.begin_nested():
            ask("released")
            with session.begin_nested():
                ask("released within")
        with suppress(LookupError), session.begin_nested():
            ask("taken back")
            with session.begin_nested():
                ask("released within what is taken back")
            raise LookupError
        inner = session.begin_nested()
        ask("also taken back")
        inner.rollback()
        ask("after")
        assert enqueued() == set()

    assert enqueued() == {"before", "released", "released within", "after"}


def test_a_job_that_is_wrong_is_refused_before_the_commit(sessions, client, enqueued):
    with sessions() as session:
        with pytest.raises(InvalidOptionError):
            enqueue_on_commit(session, client, Bill(order_id=1), task_id="")
        with pytest.raises(TypeError, match="colour"):
            enqueue_on_commit(session, client, Bill(order_id=1), colour="red")
        session.commit()

    assert enqueued() == set()


def test_a_broker_that_is_down_is_reported_after_the_commit(sessions, client, enqueued):
    with BlockingClient(RedisSettings(port=free_port())) as down, sessions() as session:
        session.add(Order(id=1))
        enqueue_on_commit(session, down, Bill(order_id=1), task_id="lost")
        enqueue_on_commit(session, client, Bill(order_id=1), task_id="arrived")
        with pytest.raises(NotEnqueuedError, match=r"is committed, but 1 .* \(bill\)") as caught:
            session.commit()

        assert session.scalars(select(Order.id)).all() == [1], "the session goes on"
    assert isinstance(caught.value.causes[0], BrokerDownError)
    assert enqueued() == {"arrived"}
    client.enqueue_many(caught.value.requests)
    assert enqueued() == {"arrived", "lost"}


def test_a_job_that_is_refused_does_not_keep_back_the_others(sessions, client, enqueued):
    client.enqueue(Bill(order_id=1), unique_for=MINUTE, task_id="first")
    with sessions() as session:
        enqueue_on_commit(session, client, Bill(order_id=1), unique_for=MINUTE)
        enqueue_on_commit(session, client, Bill(order_id=2), task_id="other")
        with pytest.raises(NotEnqueuedError) as caught:
            session.commit()

    assert [type(cause) for cause in caught.value.causes] == [DuplicateTaskError]
    assert enqueued() == {"first", "other"}


def test_a_scoped_session_is_that_of_its_thread(sessions, client, enqueued):
    scoped = scoped_session(sessions)
    enqueue_on_commit(scoped, client, Bill(order_id=1), task_id="mine")
    scoped.commit()
    scoped.remove()

    assert enqueued() == {"mine"}


@pytest.fixture
async def async_sessions(tmp_path):
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield async_sessionmaker(engine)
    await engine.dispose()


async def test_an_asynchronous_session_waits_for_the_enqueue(
    async_sessions, broker_settings, enqueued
):
    async with Client.connect(broker_settings) as client:
        async with async_sessions() as session:
            session.add(Order(id=1))
            enqueue_on_commit(session, client, Bill(order_id=1), task_id="one")
            await session.commit()
            assert enqueued() == {"one"}
            enqueue_on_commit(session, client, Bill(order_id=2), task_id="two")
            await session.rollback()
            await session.commit()
        async with async_sessions.begin() as session:
            enqueue_on_commit(session, client, Bill(order_id=3), task_id="three")
        scoped = async_scoped_session(async_sessions, asyncio.current_task)
        enqueue_on_commit(scoped, client, Bill(order_id=4), task_id="four")
        await scoped.commit()
        await scoped.remove()

    assert enqueued() == {"one", "three", "four"}


async def test_an_asynchronous_session_reports_a_broker_that_is_down(async_sessions):
    async with (
        Client.connect(RedisSettings(port=free_port())) as client,
        async_sessions() as session,
    ):
        enqueue_on_commit(session, client, Bill(order_id=1))
        with pytest.raises(NotEnqueuedError, match="is committed"):
            await session.commit()


async def test_session_and_client_must_belong_together(
    async_sessions, sessions, client, broker_settings
):
    async with Client.connect(broker_settings) as other, async_sessions() as session:
        with pytest.raises(TypeError, match="an AsyncSession a Client"):
            enqueue_on_commit(session, client, Bill(order_id=1))
        with sessions() as plain, pytest.raises(TypeError, match="needs a BlockingClient"):
            enqueue_on_commit(plain, other, Bill(order_id=1))
