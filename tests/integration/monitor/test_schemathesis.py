"""Every operation of the API, tried by schemathesis with data that fits and data that does not."""

import asyncio
import importlib.util
import os
import sys
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.enqueue.kind_publisher import KindPublisher
from duly.engine.enqueue.ticks import Ticks
from duly.engine.inspection.inspector import Inspector
from duly.flow import group, step
from duly.job import Aggregate, Job, Policy
from duly.runtime.monitor_settings import MonitorSettings
from duly.runtime.settings import Settings
from duly.schedule import Entry
from duly.task import TaskState
from duly_monitor.app import build_app
from duly_monitor.serving import listen, serve

HOUR = timedelta(hours=1)
SEED = "20261125"
EXAMPLES = 5
"""Of each operation and each kind of data; all of it takes some 30 s of processor time."""
CONFIGURATION = """\
[dictionaries]
queues.values = ["default"]
tasks.values = [{tasks}]
entries.values = ["every-hour"]
kinds.values = ["bill", "part"]
servers.values = ["{server}"]
joins.values = ["{join}"]

[parameters]
"path.name" = {{ dictionary = "queues", probability = 0.7 }}
"path.task_id" = {{ dictionary = "tasks", probability = 0.7 }}
"path.entry" = {{ dictionary = "entries", probability = 0.7 }}
"path.kind" = {{ dictionary = "kinds", probability = 0.7 }}
"path.server" = {{ dictionary = "servers", probability = 0.7 }}
"path.join_id" = {{ dictionary = "joins", probability = 0.7 }}

# A table takes the parameters of its list, where each bound is tried.
[[operations]]
include-path-regex = "[.]csv$"
phases.coverage.enabled = false
"""
NEEDS = "schemathesis is not installed: make .venv/.dev installs it"


class Bill(Job, kind="bill", policy=Policy(unique_for=HOUR, retention=HOUR)):
    order_id: int = 0
    token: str = "s3cret"


class Part(Job, kind="part", policy=Policy(max_attempts=1)):
    number: int = 0


class Mention(Job, kind="mention", policy=Policy(aggregate=Aggregate(grace=HOUR))):
    post: int = 0


async def succeed(job, _context):
    return {"order": job.order_id}


async def fail(job, _context):
    raise ValueError(f"no part {job.number}")


@pytest.fixture
async def parts(broker_settings, store, working, until):
    """A broker that holds some of everything, and what leads to it: client, inspector, worker."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client.connect(broker_settings))
        inspector = await stack.enter_async_context(Inspector.connect(broker_settings))
        ticks = await stack.enter_async_context(Ticks.connect(broker_settings))
        await KindPublisher(store).publish([Bill, Part, Mention])
        await ticks.announce((Entry(id="every-hour", job=Part(number=1), interval=HOUR),))
        await client.enqueue_many([Part(number=number) for number in range(4)])
        await client.enqueue(Bill(order_id=1))
        handlers = {Bill: succeed, Part: fail}
        server = await stack.enter_async_context(working(broker_settings, handlers, 4))

        async def ended():
            report = await inspector.queues.get("default")
            return (report.archived, report.completed) == (4, 1)

        await until(ended)
        await inspector.queues.pause("default", by="ada", reason="a test")
        for number in range(3):
            await client.enqueue(Mention(post=number), group="ada")
            await client.enqueue(Part(number=number), delay=HOUR)
        await client.enqueue(Bill(order_id=2))
        await client.start(group([Part(number=1), Part(number=2)], then=step(Part(number=3))))
        yield client, inspector, server


@pytest.mark.slow
async def test_schemathesis_finds_nothing(broker_settings, parts, tmp_path):
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip(NEEDS)
    client, inspector, server = parts
    found = [
        task.id
        for state in TaskState
        for task in (await inspector.tasks.list("default", state, limit=2)).tasks
    ]
    (join,) = await inspector.joins.list("default")
    (tmp_path / "schemathesis.toml").write_text(
        CONFIGURATION.format(
            tasks=", ".join(f'"{task_id}"' for task_id in found), server=server.id, join=join.id
        )
    )
    settings = Settings(redis=broker_settings, monitor=MonitorSettings(access="local"))
    over = asyncio.Event()
    with listen("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/monitoring/api/v1/openapi.json"
        async with asyncio.TaskGroup() as group_:
            app = build_app(settings, inspector, client)
            group_.create_task(serve(app, listener, over, app.state.feed.close))
            status, said = await tried(address, tmp_path)
            over.set()

    assert status == 0, said


async def tried(address, folder):
    """Run schemathesis; return its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
        "run", address, "--checks", "all", "--mode", "all", "--seed", SEED,
        "--max-examples", str(EXAMPLES), "--generation-deterministic", "--no-color",
        "--continue-on-failure", "--warnings", "off",
        cwd=folder,
        env=os.environ | {"COLUMNS": "120"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode(errors="replace")
