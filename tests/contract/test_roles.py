"""Each role does its work under its own rule of the broker, and nothing else."""

import asyncio
import contextlib
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis, exceptions

from duly import (
    Aggregate,
    BrokerError,
    Client,
    Entry,
    Inspector,
    InvalidOptionError,
    Job,
    Policy,
    Server,
    ServerOptions,
    TaskState,
    chain,
    group,
)
from duly.engine.enqueue.kind_publisher import KindPublisher
from duly.engine.enqueue.ticks import Ticks
from duly.engine.maintenance.maintainer import Maintainer
from duly.engine.storage.reports import BulkRunReport
from duly.engine.storage.roles import ROLES
from duly.engine.storage.store import Store
from duly.testing.servers import BrokerServer
from duly.testing.waiting import until

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/acl/duly.acl"
CHART_FILES = ROOT / "deploy/helm/duly/files/valkey"
ADMIN = "user default on nopass ~* &* +@all"
PASSWORD = "open-sesame"
TERMS = Aggregate(grace=timedelta(milliseconds=100))


class Plain(Job, kind="plain", policy=Policy(backoff_base=timedelta(milliseconds=20))):
    failures: int = 0


class Kept(Job, kind="kept", policy=Policy(retention=timedelta(hours=1), unique_for=timedelta(1))):
    number: int = 0


class Limited(Job, kind="limited", policy=Policy(max_running=1)):
    number: int = 0


class Member(Job, kind="member", policy=Policy(aggregate=TERMS)):
    number: int = 0


class Slow(Job, kind="slow"):
    """Runs until it is stopped."""


@pytest.fixture(params=["valkey", "redis"])
def broker(request, tmp_path):
    """A server with the users that the chart makes of the shipped rules."""
    passwords, users = tmp_path / "passwords", tmp_path / "users.acl"
    passwords.mkdir()
    for name in ROLES:
        (passwords / name).write_text(PASSWORD, encoding="utf-8")
    command = ["sh", CHART_FILES / "start.sh", RULES, passwords, users, "true"]
    subprocess.run(command, check=True)
    text = users.read_text(encoding="utf-8").replace("user default off ~* &* +@all", ADMIN)
    users.write_text(text, encoding="utf-8")
    start = BrokerServer.valkey if request.param == "valkey" else BrokerServer.redis
    server = start(tmp_path / "server")
    server.arguments = (*server.arguments, "--aclfile", str(users))
    with server:
        yield server


@pytest.fixture
def as_role(broker):
    """`as_role("worker")`: the settings of a service with that role's user."""

    def settings(name):
        return broker.settings().model_copy(
            update={
                "username": f"duly-{name}",
                "password": SecretStr(PASSWORD),
            }
        )

    return settings


def denied(broker):
    """Return what the broker has refused to whom; not that redis-py may not tell its name."""
    with broker.client(admin=True) as client:
        found = [(row["username"], row["object"], row["reason"]) for row in client.acl_log()]
    return [row for row in found if row[:2] != ("duly-keda", "client|setinfo")]


async def plain(job, context):
    if context.attempt <= job.failures:
        raise ValueError("not yet")
    context.write_result("half")
    if job.failures:
        context.then(Plain())
    return "done"


async def slow(_, context):
    await asyncio.Event().wait()


async def merged(jobs, name):
    return Plain()


@contextlib.asynccontextmanager
async def working(settings):
    stop = asyncio.Event()
    options = ServerOptions(
        queues={"default": 1, "other": 1}, concurrency=4, lease=timedelta(seconds=2)
    )
    async with Server.open(settings, options) as server:
        for job in (Plain, Kept, Limited):
            server.handle(job, plain if job is Plain else kept)
        server.handle(Slow, slow)
        server.aggregate(Member, merged)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.run(stop))
            yield
            stop.set()


async def kept(job, context):
    context.progress(0.5, "half")
    return job.number


async def test_every_role_does_its_work_and_is_denied_nothing(broker, as_role):
    entry = Entry(id="often", job=Plain(), interval=timedelta(seconds=1))
    async with (
        Client.connect(as_role("producer"), create_queues=True) as client,
        Inspector.connect(as_role("monitor")) as inspector,
        Inspector.connect(as_role("viewer")) as viewer,
        Ticks.connect(as_role("scheduler")) as ticks,
        Maintainer.open(as_role("scheduler"), lease=timedelta(seconds=2)) as maintainer,
        working(as_role("worker")),
        asyncio.TaskGroup() as background,
    ):
        stop = asyncio.Event()
        background.create_task(maintainer.run(stop))
        await client.ping()
        await client.enqueue(Plain(failures=1), queue="other")
        await client.enqueue(Plain(), delay=timedelta(seconds=0.2))
        await client.enqueue_many([Kept(number=1), Kept(number=2), Limited(), Limited()])
        await client.enqueue(Member(), group="g")
        await client.start(chain(Plain(), group([Plain(), Limited()], Plain())))
        stuck = await client.enqueue(Slow())
        parked = await client.enqueue(Plain(failures=9), delay=timedelta(hours=1))
        await ticks.ping()
        await ticks.announce([entry])
        await ticks.publish_kinds([entry])
        await ticks.tick(entry)

        async def ended():
            report = await viewer.queues.get("default")
            other = await viewer.queues.get("other")
            left = (report.waiting, report.active, report.scheduled, report.retry)
            return report.completed == 2 and left == (0, 1, 1, 0) and not other.held

        await until(ended, what="all has ended but what does not")
        for each in (viewer, inspector):
            await looked_at(each, stuck)
        await operated(inspector, stuck, parked)
        await ticks.withdraw([entry])
        stop.set()

    assert denied(broker) == []


async def test_keda_asks_how_many_tasks_and_groups_there_are(broker, as_role):
    async with Client.connect(as_role("producer")) as client:
        await client.enqueue(Plain())
        await client.enqueue(Member(), group="g")

    with Redis.from_url(f"redis://duly-keda:{PASSWORD}@127.0.0.1:{broker.port}") as keda:
        assert keda.xlen("duly:{default}:stream") == 1
        lengths = [keda.eval(LENGTH, 1, f"duly:{{{name}}}:groups") for name in ("default", "none")]
    assert lengths == [1, 0]
    assert denied(broker) == []


async def test_a_producer_may_ask_which_queues_there_are(broker, as_role):
    async with Store.open(as_role("scheduler")) as store:
        await KindPublisher(store).publish([Plain])
    async with Client.connect(as_role("producer")) as client:
        await client.enqueue(Plain())
        with pytest.raises(InvalidOptionError, match="did you mean 'default'"):
            await client.enqueue(Plain(), queue="defualt")
    assert denied(broker) == []


async def looked_at(inspector, stuck):
    assert [report.name for report in await inspector.queues.list()] == ["default", "other"]
    for state in TaskState:
        await inspector.tasks.list("default", state, limit=10)
    assert (await inspector.tasks.find(stuck.id)).state is TaskState.ACTIVE
    await inspector.queues.memory("default")
    await inspector.queues.minutes("default", count=2)
    await inspector.queues.days("default", count=2)
    await inspector.groups.list("default")
    await inspector.joins.list("default")
    await inspector.locks.list("default")
    assert len(await inspector.servers.list()) == 1
    assert "plain" in await inspector.kinds.names()
    assert (await inspector.kinds.find("plain")).schema
    assert await inspector.kinds.list()
    assert await inspector.brokers.list()
    assert await inspector.schedules.list()
    await inspector.schedules.ticks("often")
    await inspector.failures.survey()


async def operated(inspector, stuck, parked):
    await inspector.queues.pause("default", by="ann", reason="to test")
    await inspector.queues.resume("default")
    await inspector.schedules.pause("often")
    await inspector.schedules.resume("often")
    await inspector.schedules.trigger("often")
    await inspector.tasks.edit("default", parked.id, {"failures": 0})
    await inspector.tasks.archive("default", parked.id)
    await inspector.tasks.rerun("default", parked.id, to_queue="other")
    await inspector.tasks.run("default", parked.id)
    await inspector.tasks.cancel("default", stuck.id)
    (server,) = await inspector.servers.list()
    await inspector.servers.quiet(server.id)
    await inspector.servers.resume(server.id)
    now_ms = inspector.bulk_runs.now_ms()
    await inspector.bulk_runs.begin(
        BulkRunReport(
            id="b", operation="run", selection="", by="", started_ms=now_ms, updated_ms=now_ms
        )
    )
    await inspector.bulk_runs.stop("b")
    assert await inspector.bulk_runs.stopped("b")


FOREIGN = {
    "FLUSHALL": ("FLUSHALL",),
    "CONFIG": ("CONFIG", "GET", "*"),
    "KEYS": ("KEYS", "*"),
    "SCAN": ("SCAN", "0"),
    "a key of somebody else": ("HGET", "elsewhere", "x"),
    "the users": ("ACL", "LIST"),
    "SHUTDOWN": ("SHUTDOWN",),
    "all messages": ("PSUBSCRIBE", "*"),
}
LENGTH = """local kind = redis.call('type', KEYS[1]).ok
if kind == 'zset' then return redis.call('zcard', KEYS[1]) end
return redis.call('llen', KEYS[1])"""
"""How KEDA asks for the length of a sorted set, or of what is not there."""
OF_OTHERS = {
    "producer": [("XREADGROUP", "GROUP", "workers", "me", "STREAMS", "duly:{q}:stream", ">")],
    "scheduler": [("XREADGROUP", "GROUP", "workers", "me", "STREAMS", "duly:{q}:stream", ">")],
    "worker": [("UNLINK", "duly:{q}:stream"), ("SREM", "duly:queues", "q")],
    "monitor": [("XREADGROUP", "GROUP", "workers", "me", "STREAMS", "duly:{q}:stream", ">")],
    "viewer": [
        ("HSET", "duly:{q}:locks", "a", "b"),
        ("XADD", "duly:{q}:stream", "*", "data", "x"),
        ("EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "duly:{q}:paused"),
        ("SET", "duly:{q}:paused", "1"),
    ],
    "keda": [
        ("XADD", "duly:{q}:stream", "*", "data", "x"),
        ("XRANGE", "duly:{q}:stream", "-", "+"),
        ("HGETALL", "duly:{q}:records"),
    ],
}


@pytest.mark.parametrize("role", ROLES)
def test_no_role_may_do_anything_else(broker, as_role, role):
    settings = as_role(role)
    with Redis(
        host=settings.host, port=settings.port, username=settings.username,
        password=settings.password.get_secret_value(),
    ) as client:  # fmt: skip
        for command in (*FOREIGN.values(), *OF_OTHERS[role]):
            with pytest.raises(exceptions.NoPermissionError):
                client.execute_command(*command)


async def test_a_viewer_that_operates_is_refused_in_a_sentence(broker, as_role):
    async with (
        Client.connect(as_role("producer")) as client,
        Inspector.connect(as_role("viewer")) as viewer,
    ):
        await client.enqueue(Plain())
        with pytest.raises(BrokerError, match="refused a command"):
            await viewer.queues.pause("default")


def test_the_shipped_rules_are_those_of_the_code():
    assert RULES.samefile(CHART_FILES / "duly.acl")
    lines = RULES.read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line.startswith("user ")]

    assert rules == [
        role.rule(user=f"duly-{name}", password=">change-me") for name, role in ROLES.items()
    ]
