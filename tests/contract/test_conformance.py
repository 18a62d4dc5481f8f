"""Every transition on every shape of broker: alone, by Sentinel, in a Cluster, TLS, ACL, RESP2, 3.

The other files go through each script's cases on Valkey and Redis. Here one case of each is enough:
what differs between the shapes is how commands get there and in which form replies come back.
"""

import asyncio
from datetime import timedelta

import pytest

from duly.engine.enqueue.blocking_client import BlockingClient
from duly.engine.enqueue.client import Client
from duly.engine.enqueue.ticks import Ticks
from duly.engine.inspection.inspector import Inspector
from duly.engine.maintenance.janitor import Janitor
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.reports import TickOutcome
from duly.engine.worker.server import Server, ServerOptions
from duly.errors import DuplicateTaskError, NotFoundError, TaskIdConflictError
from duly.flow import group
from duly.job import Job, Policy
from duly.schedule import Entry
from duly.task import TaskState
from duly.testing.waiting import until

SECONDS = 60.0


class Greet(Job, kind="greet"):
    """Says hello to somebody."""

    name: str = "you"


class Kept(Job, kind="kept", policy=Policy(retention=timedelta(hours=1))):
    """Leaves a result."""


async def test_tasks_are_added_taken_and_finished(any_lane):
    assert await any_lane.add("one", "two") == [1, 1]
    assert await any_lane.add("one") == [-2]
    first, second = await any_lane.claim()

    assert await any_lane.finish((first.stream_id, "one"), (second.stream_id, "two")) == []
    assert await any_lane.finish((first.stream_id, "one")) == [first.stream_id]
    assert await any_lane.places() == {}
    assert await any_lane.counts() == {"greet:processed": 2}


@pytest.mark.parametrize("verdict", ["retry", "archived", "completed", "quarantined"])
async def test_a_task_is_settled_with_its_history(any_lane, verdict):
    stream_id = await any_lane.active()

    assert await any_lane.end(stream_id, destination=verdict, in_ms=5_000, tries="1 0") == []

    assert await any_lane.places() == {"one": verdict}
    assert "one" in await any_lane.map("history")


async def test_a_retry_is_moved_when_it_is_due(any_lane):
    stream_id = await any_lane.active()
    await any_lane.end(stream_id, destination="retry", in_ms=5_000, tries="1 0")
    assert await any_lane.move() == [0, 5_000]

    any_lane.now += 5_000

    assert await any_lane.move() == [1, -1]
    (again,) = await any_lane.claim()
    assert (again.attempts, again.crashes) == (1, 0)


async def test_a_dead_servers_task_waits_again(any_lane):
    await any_lane.beat("alice")
    await any_lane.active()
    any_lane.now += 10_000
    assert await any_lane.suspects() == ["alice"]

    assert await any_lane.reap("alice") == [1, 0, 1]

    assert await any_lane.places() == {"one": "waiting"}
    assert (await any_lane.claim("bob"))[0].crashes == 1


async def test_a_task_is_requeued_and_its_server_deregisters(any_lane):
    await any_lane.beat("alice")
    stream_id = await any_lane.active()

    assert await any_lane.requeue((stream_id, "one")) == 1

    assert await any_lane.places() == {"one": "waiting"}
    assert await any_lane.store.deregister("lane", server="alice")
    assert await any_lane.members("leases") == []


async def test_an_active_task_is_cancelled_by_way_of_the_heartbeat(any_lane):
    await any_lane.beat("alice")
    await any_lane.active()

    assert await any_lane.store.cancel("lane", task_id="one", outcome="archived") == "ok"

    reply = await any_lane.store.heartbeat(
        "lane", server="alice", lease_ms=1_000, description=b"{}"
    )
    assert reply.cancels == {"one": "archived"}


@pytest.mark.parametrize("operation", ["archive", "delete"])
async def test_an_operator_archives_runs_and_deletes(any_lane, operation):
    await any_lane.add("one")

    assert await any_lane.operate(operation) == "ok"

    assert await any_lane.places() == ({"one": "archived"} if operation == "archive" else {})
    if operation == "archive":
        assert await any_lane.operate("run") == "ok"
        assert await any_lane.places() == {"one": "waiting"}


async def test_what_is_kept_too_long_is_dropped(any_lane):
    await any_lane.end(await any_lane.active(), destination="archived")
    any_lane.now += 60_000

    assert await any_lane.prune(max_age_ms=60_000, max_count=-1, most=100) == 1

    assert await any_lane.places() == {}


async def test_a_slot_is_claimed_once_by_many_at_once(any_lane):
    async with asyncio.TaskGroup() as group:
        ticks = [group.create_task(any_lane.tick(any_lane.now)) for _ in range(50)]

    assert sorted(tick.result()[0] for tick in ticks) == ["enqueued"] + ["taken"] * 49


async def test_a_broker_that_forgets_its_scripts_gets_them_again(any_lane):
    await any_lane.add("one")
    cluster = any_lane.store.connection.cluster
    if cluster is None:
        await any_lane.command("SCRIPT", "FLUSH")
    else:
        node = await cluster.node_of(any_lane.keys.stream)
        await cluster.at_node(node, "SCRIPT", "FLUSH")

    assert await any_lane.add("two") == [1]


async def settled(inspector, *, queue="default", **counts):
    async def so():
        try:
            report = await inspector.queues.get(queue)
        except NotFoundError:  # neither client nor server has been there yet
            return False
        return all(getattr(report, name) == count for name, count in counts.items())

    await until(so, timeout=SECONDS, what=f"{queue}: {counts}")


class Handlers:
    """What the tests' server runs."""

    def __init__(self):
        self.ran = []
        self.hold = asyncio.Event()
        self.holding = asyncio.Event()

    async def greet(self, job, _):
        if job.name == "hold":
            self.holding.set()
            await self.hold.wait()
        if job.name == "nobody":
            raise LookupError(job.name)
        self.ran.append(job.name)

    async def kept(self, _job, _context):
        return {"answer": 42}


class Shop:
    """A client, an inspector and a server on one broker."""

    def __init__(self, client, inspector, handlers):
        self.client, self.inspector, self.handlers = client, inspector, handlers


@pytest.fixture
async def shop(every_broker):
    stop, handlers = asyncio.Event(), Handlers()
    options = ServerOptions(queues={"default": 2, "low": 1}, concurrency=4)
    async with (
        Client.connect(every_broker, create_queues=True) as client,
        Inspector.connect(every_broker) as inspector,
        Server.open(every_broker, options) as server,
        asyncio.TaskGroup() as group,
    ):
        server.handle(Greet, handlers.greet)
        server.handle(Kept, handlers.kept)
        group.create_task(server.run(stop))
        yield Shop(client, inspector, handlers)
        stop.set()


async def test_jobs_are_enqueued_run_and_counted(shop):
    names = [f"n{number}" for number in range(40)]
    await shop.client.enqueue_many([Greet(name=name) for name in names[:20]])
    async with asyncio.TaskGroup() as group:
        for name in names[20:]:
            group.create_task(shop.client.enqueue(Greet(name=name), queue="low"))

    await settled(shop.inspector, processed=20, waiting=0, active=0)
    await settled(shop.inspector, queue="low", processed=20, waiting=0, active=0)
    assert sorted(shop.handlers.ran) == sorted(names)
    (server,) = await shop.inspector.servers.list()
    assert server.concurrency == 4


async def test_a_failure_is_archived_shown_and_run_again(shop):
    task = await shop.client.enqueue(Greet(name="nobody"), max_attempts=1)
    await settled(shop.inspector, archived=1)

    shown = await shop.inspector.tasks.get("default", task.id)
    page = await shop.inspector.tasks.list("default", TaskState.ARCHIVED)

    assert [attempt.error for attempt in shown.history] == ["LookupError: nobody"]
    assert [found.id for found in page.tasks] == [task.id]
    assert (await shop.inspector.tasks.find(task.id)).state is TaskState.ARCHIVED
    await shop.inspector.tasks.run("default", task.id)
    await settled(shop.inspector, failed=2, archived=1)


async def test_a_result_is_kept(shop):
    task = await shop.client.enqueue(Kept())
    await settled(shop.inspector, completed=1)

    assert (await shop.inspector.tasks.get("default", task.id)).result == {"answer": 42}


async def test_a_paused_queue_holds_its_tasks_until_it_is_resumed(shop):
    await settled(shop.inspector, servers=1)
    await shop.inspector.queues.pause("default")
    assert (await shop.inspector.queues.get("default")).paused_since is not None
    # A read that waits may still take one task; the next beats tell all servers.
    await shop.client.enqueue(Greet(name="before"))
    await shop.client.enqueue(Greet(name="held"), delay=timedelta(milliseconds=200))
    await settled(shop.inspector, scheduled=0)

    await shop.inspector.queues.resume("default")

    await settled(shop.inspector, processed=2, waiting=0)


async def test_a_running_task_is_cancelled(shop):
    task = await shop.client.enqueue(Greet(name="hold"))
    await asyncio.wait_for(shop.handlers.holding.wait(), SECONDS)

    await shop.inspector.tasks.cancel("default", task.id, outcome="archive")

    await settled(shop.inspector, archived=1, active=0)
    (attempt,) = (await shop.inspector.tasks.get("default", task.id)).history
    assert attempt.outcome == "cancelled"


async def test_ids_and_locks_are_unique_and_due_tasks_come_in_time(shop):
    hold = Greet(name="hold")
    first = await shop.client.enqueue(hold, unique_for=timedelta(minutes=5), task_id="mine")
    with pytest.raises(DuplicateTaskError):
        await shop.client.enqueue(hold, unique_for=timedelta(minutes=5))
    with pytest.raises(TaskIdConflictError):
        await shop.client.enqueue(Greet(), task_id=first.id)
    await shop.client.enqueue(Greet(name="later"), delay=timedelta(milliseconds=300))
    shop.handlers.hold.set()

    await settled(shop.inspector, processed=2, scheduled=0)
    assert sorted(shop.handlers.ran) == ["hold", "later"]


async def test_ticks_are_claimed_recorded_and_run(shop, every_broker):
    stream_id = Entry(
        id="seldom", job=Greet(name="tick"), interval=timedelta(days=100), queue="low"
    )
    async with Ticks.connect(every_broker) as ticks:
        await ticks.announce((stream_id,))
        (report,) = (await ticks.tick(stream_id)).reports
        again = await ticks.tick(stream_id)

    assert report.outcome is TickOutcome.ENQUEUED
    assert again.reports == ()
    assert again.wait <= timedelta(days=100)
    await settled(shop.inspector, queue="low", processed=1)
    assert [tick.slot for tick in await shop.inspector.schedules.ticks("seldom")] == [report.slot]
    assert [found.id for found in await shop.inspector.schedules.list()] == ["seldom"]


async def test_the_janitor_finds_nothing_to_complain_of(any_lane):
    await any_lane.store.register("lane")

    assert await Janitor(any_lane.store, "lane").run_once() > timedelta(0)


async def test_a_client_without_a_loop_does_the_same(shop, every_broker):
    def enqueue():
        # The server may not have made its queues known yet.
        with BlockingClient(every_broker, create_queues=True) as client:
            client.ping()
            client.enqueue(Greet(name="one"), task_id="mine")
            with pytest.raises(TaskIdConflictError):
                client.enqueue(Greet(), task_id="mine")
            client.enqueue(Greet(name="low"), queue="low")
            client.enqueue(Greet(name="later"), delay=timedelta(milliseconds=200))
            client.enqueue_many([Greet(name=f"n{number}") for number in range(600)])
            client.start(group([Greet(name="left"), Greet(name="right")], then=Greet(name="then")))

    await asyncio.to_thread(enqueue)

    await settled(shop.inspector, processed=605, waiting=0, active=0, scheduled=0)
    await settled(shop.inspector, queue="low", processed=1)
    assert shop.handlers.ran[-1] == "then"
    assert {"one", "low", "later", "left", "right", "n599"} <= set(shop.handlers.ran)


async def test_queues_spread_over_the_masters_of_a_cluster(cluster_server):
    cluster_server.flush()
    settings = cluster_server.settings()
    names = [f"q{number}" for number in range(12)]
    async with (
        Client.connect(settings, create_queues=True) as client,
        Inspector.connect(settings) as inspector,
    ):
        for name in names:
            await client.enqueue(Greet(), queue=name)
        reports = await inspector.queues.list()

    assert {report.name: report.waiting for report in reports} == dict.fromkeys(names, 1)
    held = {}
    for server in cluster_server.servers:
        with server.client() as direct:
            keys = set(direct.keys("*"))
        held[server.port] = [name for name in names if queue_keys(name).stream in keys]
    assert sorted(name for found in held.values() for name in found) == sorted(names)
    assert all(held.values()), held
