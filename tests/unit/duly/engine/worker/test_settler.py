"""When dead letters are reported, and to whom: on a real Valkey."""

import asyncio
from datetime import timedelta

import pytest

from duly.engine.maintenance.maintainer import Maintainer
from duly.engine.middleware import Middleware
from duly.engine.storage.store import Store
from duly.errors import Skip
from duly.job import Job, Policy
from duly.task import TaskState
from duly.testing.waiting import until


class Errand(Job, kind="errand", policy=Policy(backoff=lambda *_: timedelta(0), max_attempts=2)):
    pass


class Letters(Middleware):
    def __init__(self, inspector):
        self.found, self._inspector = [], inspector

    def dead_lettered(self, letter):
        self.found.append(letter)


@pytest.fixture
async def letters(inspector):
    return Letters(inspector)


async def fail(*_):
    raise ValueError("no such order")


async def give_up(*_):
    raise Skip("of no use")


@pytest.mark.parametrize(
    "ending", [(fail, "ValueError: no such order"), (give_up, "Skip: of no use")]
)
async def test_a_task_archived_by_failure_is_reported_once(
    client, inspector, serving, letters, ending
):
    handler, reason = ending
    async with serving({Errand: handler}, middlewares=[letters]):
        task = await client.enqueue(Errand())
        await until(lambda: letters.found)
        assert (await inspector.tasks.find(task.id)).state is TaskState.ARCHIVED

    (letter,) = letters.found
    assert (letter.queue, letter.task_id, letter.kind) == ("default", task.id, "errand")
    assert (letter.state, letter.reason) == (TaskState.ARCHIVED, reason)


async def test_a_quarantined_task_is_reported(client, serving, letters, valkey_server):
    async with serving({Errand: fail}, middlewares=[letters]):
        with valkey_server.client() as raw:
            raw.xadd("duly:{default}:stream", {"data": "not a task"})
        await until(lambda: letters.found)

    (letter,) = letters.found
    assert (letter.state, letter.kind, letter.reason) == (TaskState.QUARANTINED, "-", "not JSON")


async def test_what_operators_and_successes_end_is_no_dead_letter(
    client, inspector, serving, letters
):
    running = asyncio.Event()

    async def hang(*_):
        running.set()
        await asyncio.Event().wait()

    async with serving({Errand: hang}, middlewares=[letters]):
        task = await client.enqueue(Errand())
        await running.wait()
        await inspector.tasks.cancel("default", task.id)

        async def archived():
            return (await inspector.tasks.find(task.id)).state is TaskState.ARCHIVED

        await until(archived)

    assert letters.found == []


async def beating(store, stop):
    """Beat for a server that lives: after a silence of all servers, nobody is judged."""
    while not stop.is_set():
        await store.heartbeat("default", server="alive", lease_ms=5_000, description=b"{}")
        await asyncio.sleep(0.02)


async def test_the_crash_that_is_one_too_many_is_reported_by_whoever_reaps(
    client, broker_settings, letters
):
    task = await client.enqueue(Errand())
    stop = asyncio.Event()
    async with (
        Store.open(broker_settings) as store,
        Maintainer.open(
            broker_settings, lease=timedelta(milliseconds=50), middlewares=[letters]
        ) as keeper,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(keeper.run(stop))
        group.create_task(beating(store, stop))
        for number in range(3):
            reader = store.reader("default")
            held = []
            while not held:
                await store.heartbeat(
                    "default", server=f"s{number}", lease_ms=50, description=b"{}"
                )
                held = await reader.read(server=f"s{number}", count=1, block_ms=20)
            await reader.close()
        await until(lambda: letters.found)
        stop.set()

    (letter,) = letters.found
    assert (letter.task_id, letter.kind, letter.state) == (task.id, "errand", TaskState.QUARANTINED)
    assert letter.reason.startswith("its server died, once too often")
