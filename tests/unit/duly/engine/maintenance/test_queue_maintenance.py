"""A worker's background loops are watched: what hangs is named, and what raises goes on."""

import asyncio
from datetime import timedelta

import pytest

from duly.engine.maintenance.promoter import Promoter
from duly.engine.maintenance.reaper import Reaper
from duly.engine.maintenance.upkeep import Upkeep
from duly.job import Job
from duly.testing.waiting import until

LEASE = timedelta(seconds=1)


class Note(Job, kind="note"):
    pass


class ForeignError(BaseException):
    pass


@pytest.fixture
def ran():
    return []


@pytest.fixture
def server_with(serving, ran):
    async def handler(job, context):
        ran.append(context.id)

    return lambda **options: serving({Note: handler}, lease=LEASE, **options)


@pytest.mark.parametrize(
    ("part", "name"), [(Promoter, "promoter default"), (Upkeep, "upkeep default")]
)
async def test_a_loop_that_hangs_is_named_within_a_lease_and_tasks_run_on(  # noqa: PLR0917
    client, server_with, ran, monkeypatch, part, name
):
    hanging, release = asyncio.Event(), asyncio.Event()
    original = part.run_once

    async def hang(self):
        hanging.set()
        await release.wait()
        return await original(self)

    monkeypatch.setattr(part, "run_once", hang)
    async with server_with() as server:
        await client.enqueue(Note(), delay=timedelta(milliseconds=300))
        await until(hanging.is_set, timeout=60, what="hanging")
        reason = await until(server.liveness, timeout=60, what="named")
        assert reason.startswith(f"loop '{name}' has not moved for ")

        await client.enqueue(Note(), task_id="at-once")
        await until(lambda: "at-once" in ran, timeout=60, what="ran")
        release.set()
        await until(lambda: server.liveness() is None, timeout=60, what="well")


@pytest.mark.parametrize("part", [Promoter, Reaper, Upkeep])
@pytest.mark.parametrize(
    "error", [ForeignError(), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
async def test_a_loop_that_raises_anything_goes_on(  # noqa: PLR0917
    client, server_with, ran, monkeypatch, part, error
):
    failed, original = [], part.run_once

    async def fail_once(self):
        if not failed:
            failed.append(True)
            raise error
        return await original(self)

    monkeypatch.setattr(part, "run_once", fail_once)
    async with server_with() as server:
        await client.enqueue(Note(), task_id="later", delay=timedelta(milliseconds=300))
        await until(lambda: failed and "later" in ran, timeout=60)
        # A machine that stalls may take longer than this lease for a run.
        await until(lambda: server.liveness() is None, timeout=60)


async def test_a_heartbeat_that_ended_fails_liveness(server_with, monkeypatch):
    async with server_with() as server:
        await until(lambda: server.ready() is None and server.liveness() is None, timeout=60)
        server.supervisor.ask("heartbeat", lambda: "the heartbeat has ended")
        assert server.liveness() == "the heartbeat has ended"
