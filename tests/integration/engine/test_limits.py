"""Limits of kinds hold across servers, and what waits for them holds no slot."""

import asyncio
import time
from datetime import timedelta

import pytest

from duly.engine.storage import limits
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.scripts import Asking, Limit
from duly.engine.storage.store import Store
from duly.job import Job, Policy, Rate
from duly.task import TaskState


class Scarce(Job, kind="scarce", policy=Policy(max_running=2, max_attempts=1)):
    number: int


class Paced(Job, kind="paced", policy=Policy(rate=Rate(20, per=timedelta(seconds=1), burst=5))):
    number: int


class Plain(Job, kind="plain"):
    number: int = 0


class Handlers:
    """Notes how many scarce tasks run at once, and when each paced one began."""

    def __init__(self):
        self.running = self.most = self.done = self.plain = 0
        self.hold: asyncio.Event | None = None
        self.at: list[float] = []
        self.attempts: set[int] = set()

    async def scarce(self, _job, _context):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await (self.hold.wait() if self.hold else asyncio.sleep(0.01))
        finally:
            self.running -= 1
        self.done += 1

    async def paced(self, _job, context):
        self.at.append(time.monotonic())
        self.attempts.add(context.attempt)

    async def note(self, _job, _context):
        self.plain += 1

    def all(self):
        return {Scarce: self.scarce, Paced: self.paced, Plain: self.note}


@pytest.fixture
def handlers():
    return Handlers()


async def test_no_more_than_so_many_run_at_once_across_servers(
    client, handlers, serve, until, stopwatch
):
    await serve(handlers.all())
    await serve(handlers.all())
    begun = stopwatch()
    await client.enqueue_many([Scarce(number=number) for number in range(60)])

    # By time alone it would take minutes: each end wakes the next.
    await until(lambda: handlers.done == 60, what="60 tasks")
    assert stopwatch() - begun < 14

    assert handlers.most == 2


async def test_what_waits_for_a_permit_holds_no_slot(client, inspector, handlers, serve, until):
    handlers.hold = asyncio.Event()
    await serve(handlers.all(), concurrency=3)
    await client.enqueue_many([Scarce(number=number) for number in range(20)])
    await client.enqueue_many([Plain(number=number) for number in range(20)])

    await until(lambda: handlers.plain == 20, what="20 tasks of another kind")

    assert (handlers.running, handlers.most) == (2, 2)
    assert (await inspector.queues.get("default")).scheduled == 18
    handlers.hold.set()
    await until(lambda: handlers.done == 20, what="20 tasks")
    assert handlers.most <= 2


async def test_permits_of_a_dead_server_are_free_within_its_lease(  # noqa: PLR0917
    broker_settings, client, handlers, serve, until, stopwatch
):
    async with Store.open(broker_settings) as store:
        # A server that took two tasks, was let run them, and is heard of no more.
        await client.enqueue_many([Scarce(number=number) for number in range(2)])
        await take_and_die(store)
        await client.enqueue_many([Scarce(number=number) for number in range(2, 6)])
        started = stopwatch()
        await serve(handlers.all(), lease=timedelta(seconds=4))

        await until(lambda: handlers.done == 6, what="all six")

    assert stopwatch() - started < 5
    assert handlers.most == 2


async def take_and_die(store):
    await store.register("default")
    await store.heartbeat("default", server="gone", lease_ms=2_000, description=b"{}")
    reader = store.reader("default")
    found = await reader.read(server="gone", count=10, block_ms=100)
    await reader.close()
    asking = [
        Asking(item.stream_id, f"{number}", item.tries, item.tries_with_token)
        for number, item in enumerate(found)
    ]
    assert await limits.ask(store, "default", "scarce", Limit(2), asking) == [0, 0]


async def test_a_stopped_server_gives_its_permits_back(client, handlers, serve, until, stopwatch):
    handlers.hold = asyncio.Event()
    first = await serve(handlers.all(), drain=timedelta(0))
    await client.enqueue_many([Scarce(number=number) for number in range(4)])
    await until(lambda: handlers.running == 2)
    second = Handlers()
    await serve(second.all())

    first.end.set()
    await first.running

    stopped = stopwatch()
    await until(lambda: second.done == 4, what="all four elsewhere")
    assert stopwatch() - stopped < 5
    assert second.most == 2


async def test_a_task_of_a_limited_kind_is_cancelled_and_times_out_as_any(  # noqa: PLR0917
    client, inspector, handlers, serve, until, stopwatch
):
    handlers.hold = asyncio.Event()
    await serve(handlers.all())
    tasks = await client.enqueue_many([Scarce(number=number) for number in range(3)])
    await until(lambda: handlers.running == 2)
    active = [task for task in tasks if await state(inspector, task) is TaskState.ACTIVE]

    await inspector.tasks.cancel("default", active[0].id)

    await until(lambda: cancelled(inspector, active[0]), what="archived")
    free = stopwatch()
    await until(lambda: handlers.running == 2, what="the third in its place")
    assert stopwatch() - free < 5


async def state(inspector, task):
    return (await inspector.tasks.find(task.id)).state


async def cancelled(inspector, task):
    return await state(inspector, task) is TaskState.ARCHIVED


async def test_two_servers_keep_to_one_rate(client, handlers, serve, until, stopwatch):
    await serve(handlers.all())
    await serve(handlers.all())
    started, counted = time.monotonic(), stopwatch()
    await client.enqueue_many([Paced(number=number) for number in range(100)])

    await until(lambda: len(handlers.at) >= 45, what="45 tasks")

    # Not much slower either: each begins when its token is due.
    assert stopwatch() - counted < 3
    await until(lambda: len(handlers.at) >= 60, what="60 tasks")
    begun = sorted(at - started for at in handlers.at)
    assert all(number <= 5 + 20 * at for number, at in enumerate(begun, 1))
    assert handlers.attempts == {1}
    assert handlers.plain == 0


class Rare(Job, kind="rare", policy=Policy(rate=Rate(1, per=timedelta(hours=1)))):
    """Its second start would be an hour after the first."""


class Brief(Job, kind="brief", policy=Policy(rate=Rate(5, per=timedelta(seconds=1)))):
    """Its second start is a fifth of a second after the first."""


async def kept_beside(store):
    """Return what is kept beside the one task in the stream: "" is nothing."""
    key = queue_keys("default").stream
    ((_, flat),) = await store.connection.command("XRANGE", key, "-", "+")
    return dict(zip(flat[::2], flat[1::2], strict=True)).get(b"tries", b"").decode()


async def test_a_task_given_back_before_its_start_keeps_its_token(
    client, store, serve, until, monkeypatch
):
    asked, stopped, ask, begun = asyncio.Event(), asyncio.Event(), limits.ask, []

    async def slow_ask(*args):
        answer = await ask(*args)
        asked.set()
        await stopped.wait()
        return answer

    async def note(_job, context):
        begun.append(context.id)

    monkeypatch.setattr(limits, "ask", slow_ask)
    first = await serve({Rare: note}, drain=timedelta(0))
    task = await client.enqueue(Rare())
    await asyncio.wait_for(asked.wait(), 30)
    first.end.set()
    # It has been told to end, and then gets the answer that the task may run.
    await until(lambda: first.receiver.running() == [])
    stopped.set()
    await first.running
    assert begun == []
    assert await kept_beside(store) == "0 0 0 0 0 1"

    await serve({Rare: note})

    await until(lambda: begun == [task.id], what="its start, without another token")


async def test_a_task_given_back_after_its_start_has_spent_its_token(client, store, serve, until):
    begun = []

    async def hang(_job, context):
        begun.append(context.id)
        if len(begun) == 2:
            await asyncio.Event().wait()

    server = await serve({Brief: hang}, drain=timedelta(0))
    await client.enqueue_many([Brief(), Brief()])
    # The second was deferred until its token was due, and came back with it.
    await until(lambda: len(begun) == 2)
    assert await kept_beside(store) == "0 0 0 0 0 1"

    server.end.set()
    await server.running

    assert await kept_beside(store) == "0 0"
