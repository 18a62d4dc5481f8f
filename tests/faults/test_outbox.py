"""A relay dies at each point, the broker loses what is not on its disk: each row becomes a task."""

import os
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from duly.engine.storage.keys import queue_keys
from duly.integrations.outbox import Outbox
from duly.integrations.relay import Relay, RelayOptions
from duly.job import Job
from duly.testing.environment import inherited
from duly.testing.processes import spawn
from duly.testing.processes import stop as stop_process
from duly.testing.servers import BrokerServer
from duly.testing.waiting import wait_until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
STEPS = {
    "before it claims": ("_claim", "before"),
    "after it has claimed": ("_claim", "after"),
    "before it forwards": ("_forward", "before"),
    "after it has forwarded": ("_forward", "after"),
    "before it marks": ("_mark", "before"),
    "after it has marked, before the commit": ("_mark", "after"),
}


class Bill(Job, kind="bill"):
    """Bills an order."""

    order_id: int


@pytest.fixture
def url(database_url):
    url = database_url.replace("+aiosqlite", "")
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in Outbox().ddl(engine.dialect.name):
            connection.execute(text(statement))
    engine.dispose()
    return url


def write(url, ids):
    engine, outbox = create_engine(url), Outbox()
    with Session(engine) as session:
        for number, task_id in enumerate(ids):
            outbox.add(session, Bill(order_id=number), task_id=task_id)
        session.commit()
    engine.dispose()


def forward_all(url, settings, seconds=60, **options):
    """Run a relay until no row waits."""
    engine, outbox = create_engine(url), Outbox()
    with Relay(outbox, engine, settings, options=RelayOptions(**options)) as relay:

        def done():
            relay.run_once()
            return outbox.report(engine).waiting == 0

        wait_until(done, timeout=seconds, what="no row waits")
    engine.dispose()


def dies(url, settings, method, moment, **options):
    """Run a relay in a process of its own, which is killed at a point."""
    pid = os.fork()
    if pid == 0:
        original = getattr(Relay, method)

        def killed(*args):
            if moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args)
            os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(Relay, method, killed)
        try:
            relay = Relay(Outbox(), create_engine(url), settings, options=RelayOptions(**options))
            relay.run_once()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "it was killed, and did not end by itself"


def tasks_of(settings):
    keys = queue_keys("default")
    with redis.Redis(port=settings.port, decode_responses=True) as direct:
        stream, index = direct.pipeline().xrange(keys.stream).hkeys(keys.index).execute()
    assert len(stream) == len(index), "no task is there twice"
    return set(index)


@pytest.mark.fault("relay of a transactional outbox")
@pytest.mark.parametrize("point", STEPS)
def test_a_relay_that_is_killed_leaves_its_rows_to_the_next(url, broker_settings, point):
    ids = {f"task-{number}" for number in range(50)}
    write(url, ids)
    method, moment = STEPS[point]

    for _ in range(3):
        dies(url, broker_settings, method, moment, batch=20)
    forward_all(url, broker_settings, batch=20)

    assert tasks_of(broker_settings) == ids


APPLICATION = """
from duly import App

app = App("shop")


@app.task(queue="low")
async def nothing() -> None: ...
"""
"""Its workers serve another queue, so that every task that a relay adds stays to be counted."""


@contextmanager
def in_the_background(work):
    """Run `work(stop)` in a thread for the body of a `with`."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


@pytest.mark.fault("relay of a transactional outbox")
@pytest.mark.slow
def test_workers_that_relay_are_killed_and_each_row_becomes_one_task(
    url, broker_settings, tmp_path
):
    (tmp_path / "shop.py").write_text(APPLICATION)
    environment = inherited() | {
        "DULY_REDIS__PORT": str(broker_settings.port),
        "DULY_OUTBOX__URL": url,
        "DULY_OUTBOX__EVERY": "20ms",
        "DULY_OUTBOX__BATCH": "7",
        "DULY_METRICS__ENABLED": "false",
    }
    words = [sys.executable, "-m", "duly_worker", "--app", "shop:app", "--queue", "low"]
    written = []

    def start(number):
        log = tmp_path / f"worker-{number}.log"
        return spawn(words, log=log, folder=tmp_path, environment=environment)

    def business(stop):
        while not stop.is_set():
            ids = [f"task-{len(written) + number}" for number in range(5)]
            write(url, ids)
            written.extend(ids)
            stop.wait(0.02)

    workers = [start(number) for number in range(2)]
    try:
        with in_the_background(business):
            for number in range(2, 6):
                before = len(tasks_of(broker_settings))
                wait_until(
                    lambda before=before: len(tasks_of(broker_settings)) > before + 30, timeout=90
                )
                victim = workers.pop(0)
                victim.kill()
                victim.wait()
                workers.append(start(number))
        engine = create_engine(url)
        wait_until(lambda: Outbox().report(engine).waiting == 0, timeout=90)
        engine.dispose()
    finally:
        for worker in workers:
            stop_process(worker)

    assert tasks_of(broker_settings) == set(written)


@pytest.fixture
def durable(tmp_path):
    """A broker that writes its log to the disk once a second."""
    with BrokerServer.valkey(tmp_path / "broker", durable=True) as server:
        with server.client() as client:
            client.config_set("appendfsync", "everysec")
        yield server


@pytest.mark.fault("broker of a transactional outbox")
@pytest.mark.slow
def test_rows_survive_a_broker_that_restarts_again_and_again(url, durable):
    stop, written = threading.Event(), []

    def business():
        while not stop.is_set():
            ids = [f"task-{len(written) + number}" for number in range(5)]
            write(url, ids)
            written.extend(ids)
            stop.wait(0.02)

    settings = durable.settings().model_copy(update={"timeout": timedelta(seconds=1)})
    engine = create_engine(url)
    with Relay(Outbox(), engine, settings, options=RelayOptions(batch=20)) as relay:
        threads = [
            threading.Thread(target=business),
            threading.Thread(target=relay.run, args=(stop,)),
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                before = len(tasks_of(settings))
                wait_until(lambda before=before: len(tasks_of(settings)) > before + 20, timeout=60)
                durable.kill9()
                durable.start()
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
    engine.dispose()
    forward_all(url, settings)

    assert tasks_of(settings) == set(written)


@pytest.mark.fault("broker of a transactional outbox")
@pytest.mark.parametrize("relay_dies", [False, True], ids=["the relay lives", "the relay dies"])
def test_rows_whose_tasks_a_power_loss_takes_away_are_forwarded_again(url, durable, relay_dies):
    settings = durable.settings()
    write(url, ["kept"])
    forward_all(url, settings)
    log = max(durable.folder.glob("appendonlydir/*.incr.aof"))
    with durable.client() as client:
        client.config_set("appendfsync", "no")  # nothing is written but by luck
        wait_until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        size = log.stat().st_size
        write(url, ["lost"])
        if relay_dies:
            dies(url, settings, "_mark", "before")
        else:
            engine = create_engine(url)
            with Relay(Outbox(), engine, settings) as relay:
                assert relay.run_once() == 0, "not confirmed: it is not marked"
            engine.dispose()
        assert tasks_of(settings) == {"kept", "lost"}
    durable.kill9()
    os.truncate(log, size)
    durable.start()
    assert tasks_of(settings) == {"kept"}

    forward_all(url, settings)

    assert tasks_of(settings) == {"kept", "lost"}
