"""A task that the broker has handed out in vain is taken up, although its server lives."""

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from duly.engine.storage.store import Store
from duly.engine.worker import reconciler
from duly.engine.worker.events import WorkerEvents
from duly.engine.worker.holdings import Holdings
from duly.engine.worker.limiter import Limiter
from duly.errors import NotFoundError
from duly.job import Job, Policy
from duly.task import AttemptOutcome, TaskState
from duly.testing.waiting import until

LEASE = timedelta(seconds=2)


class Errand(Job, kind="errand", policy=Policy(unique_for=timedelta(hours=1))):
    number: int = 0


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(reconciler, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(reconciler, "_IDLE_MS", 100)


@pytest.fixture
def hand_out(client, inspector, valkey_server):
    """Enqueue a task and read it in a server's name, as on a connection that it has given up."""

    async def late(server, queue="default", **fields):
        await inspector.queues.pause(queue)
        await until(lambda: queue in server.receiver.paused)
        handed_out = []
        while not handed_out:  # the server may just be reading once more
            task = await client.enqueue(Errand(**fields), queue=queue)
            fields["number"] = fields.get("number", 0) + 10
            with valkey_server.client() as raw:
                stream = f"duly:{{{queue}}}:stream"
                handed_out = raw.xreadgroup("workers", server.id, {stream: ">"})
        await inspector.queues.resume(queue)
        return task

    return late


async def test_it_runs_within_15_seconds(serving, hand_out, stopwatch):
    ran = {}

    async def handler(_, context):
        ran[context.id] = context.attempt, context.crashes

    async with serving({Errand: handler}, lease=LEASE) as server:
        await until(lambda: server.ready() is None)
        task = await hand_out(server)
        since = stopwatch()
        await until(lambda: task.id in ran)
        assert stopwatch() - since < 15
        assert ran[task.id] == (1, 0)
        assert server.orphaned("default") == 0


async def test_each_queue_is_looked_after(serving, hand_out, quick):
    ran = set()

    async def handler(_, context):
        ran.add(context.id)

    queues = {"critical": 6, "default": 3, "low": 1}
    async with serving({Errand: handler}, lease=LEASE, queues=queues) as server:
        await until(lambda: server.ready() is None)
        tasks = {(await hand_out(server, queue=queue)).id for queue in queues}
        await until(lambda: tasks <= ran)


@pytest.mark.parametrize(
    ("outcome", "states"),
    [
        ("archive", {TaskState.ARCHIVED}),
        ("delete", set()),
        ("retry", {TaskState.RETRY, TaskState.WAITING}),
    ],
)
async def test_it_can_be_cancelled_where_no_slot_is_free(  # noqa: PLR0917
    client, inspector, serving, hand_out, quick, outcome, states
):
    release, begun = asyncio.Event(), []

    async def handler(job, _):
        begun.append(job.number)
        await release.wait()

    async with serving({Errand: handler}, lease=LEASE, concurrency=1) as server:
        await until(lambda: server.ready() is None)
        await client.enqueue(Errand(number=1))
        await until(lambda: begun)
        task = await hand_out(server, number=2)
        await inspector.tasks.cancel("default", task.id, outcome=outcome)

        async def so():
            try:
                found = await inspector.tasks.get("default", task.id)
            except NotFoundError:
                return not states
            ended = [attempt.outcome for attempt in found.history[:1]]
            return found.state in states and ended == [AttemptOutcome.CANCELLED]

        await until(so)
        assert begun == [1]
        release.set()


async def test_what_runs_is_not_taken_up_again(client, serving, quick):
    release, begun = asyncio.Event(), []

    async def handler(job, _):
        begun.append(job.number)
        await release.wait()

    with capture_logs() as lines:
        async with serving({Errand: handler}, lease=LEASE, concurrency=2) as server:
            for number in range(2):
                await client.enqueue(Errand(number=number))
            await until(lambda: len(begun) == 2)
            looks = server.receiver._reconciler
            for _ in range(5):
                await looks._look("default")
            assert server.orphaned("default") == 0
            release.set()
    assert sorted(begun) == [0, 1]
    assert not [line for line in lines if "Taking up" in line["event"]]


async def test_what_nobody_takes_up_is_counted(broker_settings, client, valkey_server, monkeypatch):
    monkeypatch.setattr(reconciler, "_IDLE_MS", 0)
    await client.enqueue(Errand())
    wanted = []
    async with Store.open(broker_settings) as store:
        holdings = Holdings(
            ["default"], Limiter(store, events=WorkerEvents()), slot_freed=lambda: None
        )
        looks = reconciler.Reconciler(
            store,
            ["default"],
            server="one",
            holdings=holdings,
            leased=lambda _: True,
            take_up=wanted.append,
        )
        with valkey_server.client() as raw:
            raw.xreadgroup("workers", "one", {"duly:{default}:stream": ">"})
        await looks._look("default")
        assert (wanted, looks.orphaned("default")) == (["default"], 0)

        monkeypatch.setattr(reconciler, "_ORPHANED_AFTER", 0.0)
        assert looks.orphaned("default") == 1
        with valkey_server.client() as raw:
            raw.xautoclaim("duly:{default}:stream", "workers", "two", 0)
        await looks._look("default")
        assert looks.orphaned("default") == 0
