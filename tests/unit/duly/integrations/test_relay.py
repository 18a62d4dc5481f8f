"""Rows become tasks, once each; what cannot become one is set aside, and holds up nothing."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine, select, text, update
from sqlalchemy.orm import Session

from duly.engine.enqueue.blocking_client import BlockingClient
from duly.engine.storage.keys import queue_keys
from duly.errors import BrokerDownError
from duly.integrations.outbox import Outbox
from duly.integrations.relay import Relay, RelayOptions
from duly.job import Aggregate, Job, Policy
from duly.runtime.settings import QueueSettings
from duly.testing.waiting import wait_until


class Bill(Job, kind="bill", policy=Policy(aggregate=Aggregate())):
    """Bills an order."""

    order_id: int


class Kept:
    """An outbox in a database."""

    def __init__(self, engine):
        self.engine, self.outbox = engine, Outbox()
        with engine.begin() as connection:
            for statement in self.outbox.ddl(engine.dialect.name):
                connection.execute(text(statement))

    def write(self, *ids, **options):
        """Write a job for each id."""
        with Session(self.engine) as session:
            for number, task_id in enumerate(ids):
                self.outbox.add(session, Bill(order_id=number), task_id=task_id, **options)
            session.commit()

    def rows(self):
        """Return (task id, whether it is done, why it was refused) of each row."""
        columns = self.outbox.table.c
        wanted = select(columns.task_id, columns.ended_ms, columns.refused)
        with self.engine.connect() as connection:
            found = connection.execute(wanted.order_by(columns.id)).all()
        return [(task_id, ended is not None, refused) for task_id, ended, refused in found]


@pytest.fixture
def kept(engine):
    return Kept(engine)


@pytest.fixture
def direct(broker_settings):
    with redis.Redis(port=broker_settings.port, decode_responses=True) as direct:
        yield direct


def waiting(direct, queue="default"):
    return direct.xlen(queue_keys(queue).stream)


def test_rows_become_tasks_in_their_order(kept, direct, broker_settings):
    kept.write("one", "two", "three")
    kept.write("later", delay=timedelta(minutes=5))
    kept.write("grouped", group="customer-7")

    with Relay(kept.outbox, kept.engine, broker_settings) as relay:
        assert relay.run_once() == 5
        assert relay.run_once() == 0

    stream = direct.xrange(queue_keys("default").stream)
    ids = [fields["data"].partition('"task_id":"')[2].partition('"')[0] for _, fields in stream]
    assert ids == ["one", "two", "three"]
    assert direct.hget(queue_keys("default").index, "later") == "scheduled"
    assert direct.hget(queue_keys("default").index, "grouped") == "aggregating"
    assert {(done, refused) for _, done, refused in kept.rows()} == {(True, None)}


def test_a_task_that_exists_is_done_and_not_doubled(kept, direct, broker_settings):
    kept.write("mine")
    with BlockingClient(broker_settings) as client:
        client.enqueue(Bill(order_id=1), task_id="mine")

    with Relay(
        kept.outbox, kept.engine, broker_settings, options=RelayOptions(confirm=False)
    ) as relay:
        assert relay.run_once() == 1

    assert waiting(direct) == 1
    assert kept.rows() == [("mine", True, None)]


def test_what_cannot_become_a_task_is_set_aside_with_the_reason(kept, direct, broker_settings):
    kept.write("good", "garbled", "renamed", "queue")
    kept.write("first", unique_for=timedelta(minutes=5))
    kept.write("second", unique_for=timedelta(minutes=5))
    table = kept.outbox.table
    changes = {"garbled": {"message": "{"}, "queue": {"queue": "No Queue"}}
    changes["renamed"] = {"message": '{"task_id":"x","task_name":"bill"}'}
    with kept.engine.begin() as connection:
        for task_id, values in changes.items():
            connection.execute(update(table).where(table.c.task_id == task_id).values(**values))

    with Relay(kept.outbox, kept.engine, broker_settings) as relay:
        assert relay.run_once() == 6

    reasons = {task_id: refused for task_id, done, refused in kept.rows() if done and refused}
    assert set(reasons) == {"garbled", "renamed", "queue", "second"}
    assert reasons["garbled"].startswith("malformed")
    assert reasons["second"] == "unique: the task first has not ended"
    assert waiting(direct) == 2
    assert kept.outbox.report(kept.engine).refused == 4


def test_a_full_queue_holds_its_own_rows_only(kept, direct, broker_settings):
    kept.write("one", "two", "three")
    kept.write("other", queue="low")
    queues = {"default": QueueSettings(max_length=2), "low": QueueSettings()}

    with Relay(kept.outbox, kept.engine, broker_settings, queues) as relay:
        assert relay.run_once() == 3
        assert relay.run_once() == 0
        assert [task_id for task_id, done, _ in kept.rows() if not done] == ["three"]
        direct.delete(queue_keys("default").stream, queue_keys("default").index)

        wait_until(lambda: relay.run_once() == 1, what="the queue is tried again")
    assert waiting(direct) == 1


def test_a_broker_that_is_down_leaves_the_rows(kept, own_server):
    kept.write("one", "two")
    own_server.kill9()
    settings = own_server.settings()
    with Relay(kept.outbox, kept.engine, settings) as relay:
        with pytest.raises(BrokerDownError):
            relay.run_once()
        assert kept.rows() == [("one", False, None), ("two", False, None)]
        own_server.start()

        assert relay.run_once() == 2


def test_several_relays_share_the_rows(postgres_url, broker_settings, direct):
    engine, outbox = create_engine(postgres_url), Outbox()
    with engine.begin() as connection:
        for statement in outbox.ddl():
            connection.execute(text(statement))
        for number in range(600):
            outbox.add(connection, Bill(order_id=number), task_id=f"task-{number}")
    done, options = [], RelayOptions(batch=20)

    def work(_):
        with Relay(outbox, engine, broker_settings, options=options) as relay:
            while moved := relay.run_once():
                done.append(moved)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    engine.dispose()

    assert sum(done) == 600, "no row was moved by two"
    assert waiting(direct) == 600


def test_rows_that_were_kept_long_enough_are_deleted(kept, broker_settings):
    kept.write("one", "two", "three")
    with kept.engine.begin() as connection:
        table = kept.outbox.table
        bad = update(table).where(table.c.task_id == "three").values(message="{")
        connection.execute(bad)
    with Relay(kept.outbox, kept.engine, broker_settings) as relay:
        relay.run_once()
        assert relay.tidy() == 0
        with kept.engine.begin() as connection:
            connection.execute(update(table).values(ended_ms=table.c.ended_ms - 3_700_000))
        assert relay.tidy() == 2
    assert [task_id for task_id, *_ in kept.rows()] == ["three"]

    kept.write("four")
    nothing_kept = RelayOptions(retention=timedelta(0))
    with Relay(kept.outbox, kept.engine, broker_settings, options=nothing_kept) as relay:
        assert relay.run_once() == 1
    assert [task_id for task_id, *_ in kept.rows()] == ["three"]


def test_it_works_until_it_is_stopped_and_tells_its_lag(kept, own_server):
    kept.write("one")
    registry, stop = CollectorRegistry(), threading.Event()
    options = RelayOptions(every=timedelta(milliseconds=20))
    with Relay(
        kept.outbox, kept.engine, own_server.settings(), options=options, registry=registry
    ) as relay:
        thread = threading.Thread(target=relay.run, args=(stop,))
        thread.start()
        try:
            wait_until(lambda: kept.rows() == [("one", True, None)], what="the row is done")
            own_server.kill9()
            kept.write("two")
            own_server.start()
            wait_until(lambda: kept.rows()[-1] == ("two", True, None), what="the next row, too")
        finally:
            stop.set()
            thread.join(60)

    assert registry.get_sample_value("duly_outbox_forwarded_total") == 2
    assert registry.get_sample_value("duly_outbox_lag_seconds") is not None


def test_without_an_append_only_file_nothing_is_waited_for(kept, broker_settings, caplog):
    kept.write("one")
    with Relay(kept.outbox, kept.engine, broker_settings) as relay:
        assert relay._forwarder._confirm
        assert relay.run_once() == 1
        assert not relay._forwarder._confirm
