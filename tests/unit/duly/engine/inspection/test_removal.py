import asyncio
from datetime import timedelta

import pytest

from duly.engine.enqueue.ticks import Ticks
from duly.engine.inspection.removal import QueueInUseError
from duly.engine.storage.keys import KIND_KEYS
from duly.engine.worker.server import Server, ServerOptions
from duly.errors import NotFoundError
from duly.job import Job, Policy, Rate
from duly.schedule import Entry
from duly.testing.waiting import until


class Chore(Job, kind="chore"):
    pass


class Scarce(Job, kind="scarce", policy=Policy(max_running=1, rate=Rate(1))):
    number: int


@pytest.fixture
async def ticks(broker_settings):
    async with Ticks.connect(broker_settings) as ticks:
        yield ticks


async def test_nothing_of_a_removed_queue_is_left(client, ticks, inspector, valkey_server):
    await client.enqueue(Chore())
    await client.enqueue(Chore(), delay=timedelta(hours=1))
    entry = Entry(id="chores", job=Chore(), interval=timedelta(seconds=1))
    await ticks.announce((entry,))
    await ticks.tick(entry)
    withdrawn = Entry(id="gone", job=Chore(), interval=timedelta(seconds=1))
    await ticks.tick(withdrawn)
    await ticks.withdraw([withdrawn])
    await inspector.queues.pause("default")

    assert await inspector.queues.remove("default", force=True) == 4

    with valkey_server.client() as raw:
        assert raw.keys("duly:*") == []
    with pytest.raises(NotFoundError):
        await inspector.queues.get("default")


async def test_a_queue_with_tasks_is_only_removed_by_force(client, inspector):
    await client.enqueue(Chore())

    with pytest.raises(QueueInUseError, match="holds 1 task"):
        await inspector.queues.remove("default")

    assert (await inspector.queues.get("default")).waiting == 1


async def test_a_served_queue_is_not_removed_even_by_force(broker_settings, inspector):
    options = ServerOptions(queues={"default": 1}, concurrency=1)
    async with Server.open(broker_settings, options) as server:
        stop = asyncio.Event()
        working = asyncio.create_task(server.run(stop))
        await until(lambda: server.ready() is None)

        with pytest.raises(QueueInUseError, match="live workers"):
            await inspector.queues.remove("default", force=True)

        stop.set()
        await working
    assert await inspector.queues.remove("default") == 0


async def test_nothing_of_limited_kinds_is_left(client, inspector, valkey_server, broker_settings):
    stop, hold = asyncio.Event(), asyncio.Event()

    async def handle(_job, _context):
        await hold.wait()

    options = ServerOptions(queues={"default": 1}, concurrency=5, drain=timedelta(0))
    async with Server.open(broker_settings, options) as server:
        server.handle(Scarce, handle)
        running = asyncio.create_task(server.run(stop))
        await client.enqueue_many([Scarce(number=number) for number in range(3)])

        async def two_set_aside():
            return (await inspector.queues.get("default")).scheduled == 2

        await until(two_set_aside)
        stop.set()
        await running

    await inspector.queues.remove("default", force=True)

    with valkey_server.client() as raw:
        left = set(raw.keys("duly:*")) - set(KIND_KEYS)
        assert not raw.smembers(KIND_KEYS.queues)
    assert left == set()
