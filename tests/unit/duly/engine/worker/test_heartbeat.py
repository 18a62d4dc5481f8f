"""The heartbeat goes on whatever happens, and says so when it cannot."""

import asyncio
import contextlib
import os
import threading
import time
from datetime import timedelta

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.keys import queue_keys
from duly.engine.worker import heartbeat
from duly.engine.worker.heartbeat import Heartbeat
from duly.engine.worker.server import Server, ServerOptions
from duly.errors import BrokerDownError
from duly.job import Job
from duly.testing.outage import Outage
from duly.testing.waiting import until

LEASE = timedelta(seconds=1)


class Noted(Job, kind="noted"):
    """Shows what it is told to show."""


def never():
    raise AssertionError("this must not be asked")


class Beats:
    """What a heartbeat reported."""

    def __init__(self):
        self.replies, self.errors = [], []

    def count(self, queue="default"):
        return sum(name == queue for name, _ in self.replies)


@pytest.fixture
async def beating(broker_settings):
    """`beating(…)` starts a heartbeat; each is ended after the test."""
    started = []

    def start(settings=broker_settings, queues=("default",), lease=LEASE, **options):
        beats = Beats()
        given = {
            "describe": lambda: b"{}",
            "kinds": lambda: ("noted",),
            "on_reply": lambda queue, reply: beats.replies.append((queue, reply)),
            "on_error": lambda _, error: beats.errors.append(error),
        }
        thread = Heartbeat(settings, queues, server="alice", lease=lease, **{**given, **options})
        thread.start()
        started.append(thread)
        beats.thread = thread
        return beats

    yield start
    for thread in started:
        thread.end()
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "error",
    [
        UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"),
        MemoryError(),
        RecursionError(),
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["describe", "kinds", "on_reply", "on_error"])
async def test_whatever_a_callback_raises_the_lease_is_renewed(
    beating, broker_settings, store, where, error
):
    raised = threading.Event()

    def fail(*_):
        raised.set()
        raise error

    async def renewed():
        score = await store.connection.command("ZSCORE", queue_keys("default").leases, "alice")
        return float(score or 0)

    async with Outage.before(broker_settings) as outage:
        beats = beating(settings=outage.settings, **{where: fail})
        if where == "on_error":
            await until(renewed)
            outage.refuse()
        await until(raised.is_set)
        outage.heal()
        begin = await until(renewed)

        await until(lambda: _later(renewed, begin + 500))
        assert beats.thread.stalled() is None


async def _later(renewed, than):
    return await renewed() > than


async def test_an_error_of_an_unforeseen_sort_restarts_it(beating, monkeypatch):
    failures = iter([SystemExit(3), RuntimeError("unforeseen")])
    beat = Heartbeat._beat

    async def failing(self, connection, queue):
        for failure in failures:
            raise failure
        return await beat(self, connection, queue)

    monkeypatch.setattr(Heartbeat, "_beat", failing)
    beats = beating()

    await until(lambda: beats.count() >= 2)
    assert beats.thread.stalled() is None


async def test_a_note_with_lone_surrogates_costs_no_lease(serving, inspector):
    shown = asyncio.Event()

    async def handler(job, context):
        context.progress(0.5, os.fsdecode(b"\xe9"))
        shown.set()
        await asyncio.sleep(3 * LEASE.total_seconds())

    lost = []
    async with serving({Noted: handler}, lease=LEASE) as server:
        server._on_lease_lost = lost.append

        async with Client.connect(server._store.connection.settings) as client:
            await client.enqueue(Noted())
            await shown.wait()

            async def done():
                return (await inspector.queues.get("default")).processed

            await until(done)
    assert lost == []


async def test_a_thread_that_has_ended_or_hangs_is_stalled(beating, broker_settings):
    idle = Heartbeat(
        broker_settings, ("default",), server="bob", lease=LEASE,
        describe=never, kinds=never, on_reply=never, on_error=never,
    )  # fmt: skip
    assert idle.stalled() == "the heartbeat has ended"

    held = threading.Event()
    quick = broker_settings.model_copy(update={"timeout": timedelta(milliseconds=50)})
    beats = beating(settings=quick, lease=timedelta(seconds=0.2), on_reply=lambda *_: held.wait(60))
    try:
        stalled = await until(beats.thread.stalled)
        assert stalled.startswith("no heartbeat was tried for ")
    finally:
        held.set()
    await until(lambda: beats.thread.stalled() is None)


async def test_a_broker_that_is_down_is_no_reason_to_be_restarted(beating, own_server):
    settings = own_server.settings().model_copy(update={"timeout": timedelta(seconds=0.3)})
    beats = beating(settings=settings)
    await until(beats.count)

    own_server.stop()
    await until(lambda: len(beats.errors) >= 6)

    assert beats.thread.stalled() is None
    assert all(isinstance(error, BrokerDownError) for error in beats.errors)
    own_server.start()
    before = beats.count()
    await until(lambda: beats.count() > before)


async def test_messages_bring_beats_to_their_own_queue_only_and_not_one_each(beating, store):
    beats = beating(queues=("default", "low"), lease=timedelta(seconds=40))
    await until(lambda: beats.count("default") and beats.count("low"))
    control = queue_keys("default").control

    async def listened():
        return await store.connection.command("PUBLISH", control, "look")

    await until(listened)
    await until(lambda: beats.count("default") >= 2)
    before, low, begin = beats.count("default"), beats.count("low"), time.monotonic()
    for _ in range(300):
        await listened()
    took = time.monotonic() - begin
    await until(lambda: beats.count("default") > before)
    await asyncio.sleep(0.3)

    assert beats.count("default") - before <= took / 0.075 + 5
    assert beats.count("low") - low <= 1, "it begins to listen, once"


async def test_a_message_brings_a_beat_at_once(beating, store):
    beats = beating(lease=timedelta(seconds=40))
    keys = queue_keys("default")
    await until(lambda: beats.count() >= 2)  # the second one since it has begun to listen

    await store.poke(keys)

    await until(lambda: beats.count() >= 3, timeout=5)


async def test_a_user_without_the_channels_beats_all_the_same(beating, acl_server):
    with acl_server.client(admin=True) as admin:
        admin.execute_command("ACL SETUSER duly resetchannels")
    try:
        beats = beating(settings=acl_server.settings())
        await until(lambda: beats.count() >= 3)
    finally:
        with acl_server.client(admin=True) as admin:
            admin.execute_command("ACL SETUSER duly &duly:*")


@pytest.mark.parametrize("role", ["writable", "read-only"])
async def test_a_master_that_becomes_a_replica_is_left_by_all_connections(
    valkey_server, own_server, role
):
    """Two servers swap their roles behind one address, as behind a Service of Kubernetes."""
    with contextlib.ExitStack() as stack:
        old, new = (stack.enter_context(server.client()) for server in (own_server, valkey_server))
        new.flushall()
        old.config_set("replica-read-only", "no" if role == "writable" else "yes")
        async with Outage.before(own_server.settings()) as outage:
            async with working(outage.settings):
                # Commands, the read that waits, the heartbeat and its listening.
                await until(lambda: outage.connections == 4)
                outage.target = valkey_server.settings()
                old.replicaof("127.0.0.1", valkey_server.port)

                await until(lambda: new.zcard(queue_keys("default").leases), timeout=10)

                async with Client.connect(outage.settings) as client:
                    await client.enqueue(Noted())
                    async with Inspector.connect(outage.settings) as inspector:

                        async def done():
                            return (await inspector.queues.get("default")).processed

                        await until(done, timeout=10)
            old.replicaof("NO", "ONE")


@contextlib.asynccontextmanager
async def working(settings):
    """Run a server that does nothing with its tasks, for the body."""

    async def nothing(job, context):
        pass

    stop = asyncio.Event()
    options = ServerOptions(queues={"default": 1}, concurrency=4, lease=LEASE)
    async with Server.open(settings, options) as server:
        server.handle(Noted, nothing)
        running = asyncio.create_task(server.run(stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(running, 60)


async def test_one_that_is_ended_at_its_start_ends(beating, monkeypatch):
    """Its first beat waits for a connection then, which is closed beneath it."""
    threads, begun = [], threading.Event()
    listeners = heartbeat._listeners

    def ended(connection, pokes):
        begun.wait(60)
        for thread in threads:
            thread.end()
        return listeners(connection, pokes)

    monkeypatch.setattr(heartbeat, "_listeners", ended)
    threads.append(beating().thread)
    begun.set()

    await until(lambda: not threads[0].is_alive())
