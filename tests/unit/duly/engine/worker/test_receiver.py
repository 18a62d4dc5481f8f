"""The receiver's own part: what it does with tasks that it has read and not begun."""

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from duly.engine.storage.codec import Message, encode
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.engine.worker.received import received
from duly.engine.worker.receiver import JobReceiver
from duly.engine.worker.taskiq_broker import JobBroker
from duly.job import Job

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
