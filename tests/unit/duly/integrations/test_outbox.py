"""Rows are part of the business transaction, and the table is only described."""

from datetime import timedelta

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import MetaData, inspect, select, text
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from duly.errors import InvalidOptionError, InvalidPayloadError
from duly.integrations.outbox import Outbox
from duly.job import Job, Policy


class Bill(Job, kind="bill", policy=Policy(queue="low")):
    """Bills an order."""

    order_id: float


@pytest.fixture
def outbox(engine):
    outbox = Outbox()
    with engine.begin() as connection:
        for statement in outbox.ddl(engine.dialect.name):
            connection.execute(text(statement))
    return outbox


def rows_of(engine, outbox):
    with engine.connect() as connection:
        return connection.execute(select(outbox.table).order_by(outbox.table.c.id)).all()


def test_a_row_is_written_with_the_business_data_or_not_at_all(engine, outbox):
    with Session(engine) as session:
        given = outbox.add(session, Bill(order_id=1))
        outbox.add(session, Bill(order_id=2), task_id="mine", delay=timedelta(minutes=1))
        session.commit()
        outbox.add(session, Bill(order_id=3))
        session.rollback()
    with engine.begin() as connection:
        outbox.add(connection, Bill(order_id=4), unique_for=timedelta(minutes=5))

    first, second, third = rows_of(engine, outbox)
    assert (first.task_id, first.queue, first.kind, first.due_ms) == (given, "low", "bill", 0)
    assert second.task_id == "mine"
    assert 0 <= second.due_ms - second.created_ms - 60_000 < 1_000
    assert third.lock
    assert third.lock_ttl_ms == 300_000
    assert {row.ended_ms for row in (first, second, third)} == {None}


async def test_an_asynchronous_session_writes_the_same(database_url, outbox):
    engine = create_async_engine(database_url)
    async with AsyncSession(engine) as session:
        await outbox.add_async(session, Bill(order_id=1), task_id="mine")
        await session.commit()
        await outbox.add_async(session, Bill(order_id=1), task_id="rolled back")
    async with AsyncSession(engine) as session:
        assert (await session.scalars(select(outbox.table.c.task_id))).all() == ["mine"]
    await engine.dispose()


def test_a_job_that_is_wrong_is_refused_where_it_is_written(engine, outbox):
    with Session(engine) as session:
        with pytest.raises(InvalidPayloadError, match="order_id"):
            outbox.add(session, Bill(order_id=float("nan")))
        with pytest.raises(InvalidOptionError):
            outbox.add(session, Bill(order_id=1), queue="No Queue")
        session.commit()

    assert rows_of(engine, outbox) == []


def test_a_report_tells_how_many_wait_and_for_how_long(engine, outbox):
    assert outbox.report(engine).waiting == 0
    with Session(engine) as session:
        outbox.add(session, Bill(order_id=1))
        outbox.add(session, Bill(order_id=2))
        session.execute(outbox.table.update().values(created_ms=outbox.table.c.created_ms - 5_000))
        session.commit()

    report = outbox.report(engine)

    assert (report.waiting, report.refused) == (2, 0)
    assert timedelta(seconds=5) <= report.lag < timedelta(minutes=5)


def test_the_migration_makes_and_removes_the_table(engine):
    outbox = Outbox(name="our_outbox")
    revision = {}
    exec(outbox.migration(engine.dialect.name), revision)
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        revision["upgrade"]()
        found = inspect(connection)
        assert {column["name"] for column in found.get_columns("our_outbox")} == {
            column.name for column in outbox.table.columns
        }
        assert {index["name"] for index in found.get_indexes("our_outbox")} == {
            "ix_our_outbox_waiting",
            "ix_our_outbox_ended",
        }
        outbox.add(connection, Bill(order_id=1))
        revision["downgrade"]()
        assert not inspect(connection).has_table("our_outbox")


def test_a_table_may_belong_to_the_applications_metadata():
    metadata = MetaData()

    outbox = Outbox(metadata, schema="jobs")

    assert metadata.tables["jobs.duly_outbox"] is outbox.table
    assert outbox.ddl()[0].startswith("CREATE TABLE jobs.duly_outbox")
    with pytest.raises(NoSuchModuleError):
        outbox.ddl("nosuch")
