"""A read that waits on some of the queues ends as soon as it ought to wait on others."""

import asyncio
from datetime import timedelta

import pytest

from duly.engine.storage.codec import Message, encode
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.scripts import NewTask
from duly.engine.storage.store import Store
from duly.engine.worker.events import WorkerEvents
from duly.engine.worker.fetcher import Fetcher
from duly.errors import BrokerError
from duly.testing.cluster import RedisCluster
from duly.testing.waiting import until


@pytest.fixture
def closed():
    """The queues of which nothing is to be taken."""
    return {"critical"}


@pytest.fixture
async def source(store, closed):
    for queue in ("critical", "default"):
        await store.register(queue)
    source = Fetcher(
        store,
        {"critical": 6, "default": 3},
        server="one",
        block_ms=600_000,
        paused=lambda queue: queue in closed,
    )
    yield source
    await source.close()


async def wait_began(source):
    """Begin to wait on the queues that are open; return the wait."""
    waiting = asyncio.create_task(source.next(1))
    async with asyncio.timeout(60):
        while not source._waits:
            await asyncio.sleep(0)
    return waiting


async def wait_until_changed(source):
    """Wait on the queues that are open until there may be others; return what was found."""
    waiting = await wait_began(source)
    source.look_again()
    return await asyncio.wait_for(waiting, 60)


async def test_wait_ends_when_a_queue_left_out_may_be_asked(source):
    assert await wait_until_changed(source) == []


async def test_wait_that_leaves_nothing_out_goes_on(source, closed):
    closed.clear()
    waiting = await wait_began(source)

    source.look_again()

    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    source.end_wait()
    assert await asyncio.wait_for(waiting, 60) == []


async def test_each_of_two_waits_in_quick_succession_ends(source):
    await wait_until_changed(source)

    # What ended the first wait is still about.
    assert await wait_until_changed(source) == []


async def test_wait_that_nobody_ends_is_left_alone_after_one_that_was_ended(source):
    await wait_until_changed(source)

    second = await wait_began(source)

    done, _ = await asyncio.wait({second}, timeout=0.1)
    assert not done
    source.look_again()
    await asyncio.wait_for(second, 60)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A cluster whose other nodes answer when one does not, and two queues on different nodes."""
    with RedisCluster.create(tmp_path_factory.mktemp("shards")) as cluster:
        for server in cluster.servers:
            with server.client() as raw:
                raw.config_set("cluster-require-full-coverage", "no")
        yield cluster


def on_two_nodes(cluster):
    owner = cluster.owner(queue_keys("default").stream)
    names = (f"queue-{number}" for number in range(100))
    return "default", next(n for n in names if cluster.owner(queue_keys(n).stream) is not owner)


class Report(WorkerEvents):
    def __init__(self):
        self.failed, self.answered = [], []

    def broker_failed(self, call, _):
        self.failed.append(call)

    def broker_answered(self, call):
        self.answered.append(call)


async def add(store, queue, task_id):
    data = encode(Message(task_id=task_id, task_name="errand"))
    assert await store.add(queue, [NewTask(id=task_id, data=data)], max_length=100) == [1]


async def test_a_queue_whose_broker_hangs_stops_no_other(shards, stopwatch):
    hung, other = on_two_nodes(shards)
    settings = shards.settings().model_copy(update={"timeout": timedelta(seconds=1)})
    async with Store.open(settings) as store:
        for queue in (hung, other):
            await store.register(queue)
        report = Report()
        fetcher = Fetcher(store, {hung: 6, other: 1}, server="one", block_ms=1_000, events=report)
        found = []

        async def fetch(task_id):
            while task_id not in [task.task_id for task in found]:
                found.extend(await fetcher.next(10))

        await add(store, hung, "before")
        await fetch("before")
        shards.owner(queue_keys(hung).stream).pause()
        try:
            for number in range(5):
                await add(store, other, f"task-{number}")
                since = stopwatch()
                await asyncio.wait_for(fetch(f"task-{number}"), 10)
                assert stopwatch() - since < 2.5
            async with asyncio.timeout(20):
                while f"read {hung}" not in report.failed:
                    found.extend(await fetcher.next(10))
        finally:
            shards.owner(queue_keys(hung).stream).resume()
        assert f"read {other}" not in report.failed

        await until(lambda: added(store, hung, "after"), timeout=20)
        # What was handed out in vain is found too: the first read after it asks for that.
        await asyncio.wait_for(fetch("after"), 20)
        assert report.answered == [f"read {hung}"]
        await fetcher.close()


async def added(store, queue, task_id):
    try:
        await add(store, queue, task_id)
    except BrokerError:
        return False
    return True


async def test_what_is_lost_while_it_is_looked_for_is_looked_for_again(store):
    """A loss that is noticed during the look may not be in its answer."""
    await store.register("default")
    fetcher = Fetcher(store, {"default": 1}, server="one", block_ms=1)
    reader = fetcher._readers["default"]
    reader.lost = True
    looking = asyncio.create_task(fetcher.next(1))
    while reader.lost:
        await asyncio.sleep(0)

    fetcher.lose("default")
    await looking

    assert reader.lost
    await fetcher.next(1)
    assert not reader.lost
    await fetcher.close()
