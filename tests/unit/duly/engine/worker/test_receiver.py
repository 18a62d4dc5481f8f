"""The receiver's own part: what it does with tasks that it has read and not begun."""

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from duly.engine.storage.codec import Message, encode
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.engine.worker import reconciler
from duly.engine.worker.partial_results import PartialResults
from duly.engine.worker.received import received
from duly.engine.worker.receiver import JobReceiver
from duly.engine.worker.reconciler import Reconciler
from duly.engine.worker.runner import Runner
from duly.engine.worker.settler import Settler
from duly.engine.worker.taskiq_broker import JobBroker
from duly.engine.worker.unknown_kinds import UnknownKinds
from duly.job import Job
from duly.runtime.supervision import Supervisor
from duly.testing.clock import FrozenClock

SAME = "1767614400000-0"
"""Two queues may give entries the same id: it is a millisecond and a number."""


class Slow(Job, kind="slow"):
    number: int


@pytest.fixture
async def store(broker_settings):
    """A store of two queues, each with a task whose entry has the same id."""
    async with Store.open(broker_settings) as store:
        for number, queue in enumerate(("default", "low")):
            await store.register(queue)
            message = Message(task_id=queue, task_name="slow", kwargs={"number": number})
            await store.connection.command(
                "XADD", queue_keys(queue).stream, SAME, "data", encode(message)
            )
            await store.connection.command("HSET", queue_keys(queue).index, queue, SAME)
        yield store


@pytest.fixture
async def receiver(store):
    """A receiver that has read both tasks and has begun neither."""
    receiver = JobReceiver(JobBroker(store, {"default": 1, "low": 1}, server="one"), concurrency=1)
    for queue in ("default", "low"):
        reader = store.reader(queue)
        for delivery in await reader.read(server="one", count=1, block_ms=1_000):
            task = received(queue, delivery)
            receiver._waiting.append(task)
            receiver._holdings.add([task])
        await reader.close()
    yield receiver
    await receiver._fetcher.close()


async def test_what_waits_for_a_slot_is_let_go_when_the_lease_is_lost(receiver):
    receiver.lose_lease("low")

    assert [task.queue for task in receiver._waiting] == ["default"]


async def test_what_was_let_go_is_read_again_where_it_is_still_ours(receiver):
    receiver.lose_lease("low")

    found = await receiver._fetcher.next(1)
    assert [(task.queue, task.delivery.stream_id.decode()) for task in found] == [("low", SAME)]


async def test_entries_of_two_queues_with_one_id_run_side_by_side(store, until):
    begun, go_on, stop = [], asyncio.Event(), asyncio.Event()

    async def handler(job, context):
        begun.append(context.queue)
        await go_on.wait()

    jobs = JobBroker(store, {"default": 1, "low": 1}, server="one")
    jobs.handle(Slow, handler)
    receiver = JobReceiver(jobs, concurrency=2, drain=timedelta(seconds=5))
    async with asyncio.TaskGroup() as group:
        group.create_task(receiver.listen(stop))
        await until(lambda: len(begun) == 2)

        assert len(receiver.running()) == 2
        go_on.set()
        await until(lambda: not receiver.running())
        stop.set()
    lengths = [await store.connection.command("XLEN", queue_keys(q).stream) for q in jobs.queues]
    assert lengths == [0, 0]


async def test_a_loop_that_ends_unexpectedly_is_started_again(store, until, monkeypatch):
    """Also with what it had taken: an outcome stays noted until it is written."""
    ran, stop, complete = [], asyncio.Event(), Store.complete

    async def handler(job, context):
        ran.append(context.id)

    async def fail_once(self, *args, **kwargs):
        monkeypatch.setattr(Store, "complete", complete)
        raise LookupError("a mistake")

    monkeypatch.setattr(Store, "complete", fail_once)
    jobs = JobBroker(store, {"default": 1, "low": 1}, server="one")
    jobs.handle(Slow, handler)
    receiver = JobReceiver(jobs, concurrency=2, drain=timedelta(seconds=5))
    with capture_logs() as lines:
        listening = asyncio.create_task(receiver.listen(stop))

        async def written():
            keys = [queue_keys(queue).stream for queue in jobs.queues]
            return [await store.connection.command("XLEN", key) for key in keys] == [0, 0]

        await until(written)
        stop.set()
        await listening
    assert sorted(ran) == ["default", "low"]
    ended = [line for line in lines if line["event"] == "Background loop ended, restarting"]
    assert len(ended) == 1
    assert ended[0]["loop"].startswith("settler ")


LOOPS = {
    "settler default": (Settler, "run"),
    "reader": (JobReceiver, "_read"),
    "unknown kinds": (UnknownKinds, "run"),
    "timeouts": (Runner, "watch"),
    "partial results": (PartialResults, "run"),
    "reconciler": (Reconciler, "run"),
}


@pytest.fixture
async def listening(store):
    """Start a receiver whose loops are watched, on a clock that stands still."""
    stop, clock, asked = asyncio.Event(), FrozenClock(), []

    def start(handler):
        jobs = JobBroker(store, {"default": 1, "low": 1}, server="one")
        jobs.handle(Slow, handler)
        supervisor = Supervisor(bound=timedelta(seconds=1), clock=clock)
        receiver = JobReceiver(jobs, concurrency=2, supervisor=supervisor, block_ms=100)
        asked.append(asyncio.create_task(receiver.listen(stop)))
        return receiver, supervisor, clock

    yield start
    stop.set()
    await asked[0]


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_loop_that_stands_still_is_named(listening, monkeypatch, loop):
    begun = asyncio.Event()

    async def hang(*_):
        begun.set()
        await asyncio.Event().wait()

    async def handler(job, context):
        pass

    monkeypatch.setattr(*LOOPS[loop], hang)
    _, supervisor, clock = listening(handler)
    await begun.wait()
    assert supervisor.liveness() is None
    clock.advance(3600)

    assert any(name == loop for name, (_, due) in supervisor._beats.items() if due < 3600)
    assert "has not moved for 3600 s" in supervisor.liveness()


@pytest.mark.parametrize("state", ["idle", "busy", "paused", "quiet"])
async def test_loops_move_whether_or_not_there_is_something_to_do(
    listening, until, monkeypatch, state
):
    monkeypatch.setattr(reconciler, "EVERY_SECONDS", 0.1)
    go_on = asyncio.Event()

    async def handler(job, context):
        if state == "busy":
            await go_on.wait()

    receiver, supervisor, clock = listening(handler)
    await until(lambda: supervisor._beats.keys() >= LOOPS.keys())
    if state == "busy":
        await until(lambda: len(receiver.running()) == 2)
    elif state == "quiet":
        receiver.quiet()
    elif state == "paused":
        receiver.pause("default")
        receiver.pause("low")

    async def moved():
        return all(at == clock.monotonic() for at, _ in supervisor._beats.values())

    for _ in range(3):
        clock.advance(1)
        await until(moved)
        assert supervisor.liveness() is None
    go_on.set()
