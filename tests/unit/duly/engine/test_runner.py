import asyncio
import threading
from datetime import timedelta

import pytest

from duly.engine import runner
from duly.job import Job, Policy
from duly.task import Progress


class Import(Job, kind="import"):
    pass


class Stubborn(Job, kind="stubborn", policy=Policy(timeout=timedelta(milliseconds=50))):
    pass


@pytest.mark.parametrize("in_thread", [False, True])
async def test_progress_shows_where_running_tasks_are_shown(
    serving, client, inspector, until, in_thread
):
    release = threading.Event()

    def work(job, context):
        context.progress(0.4, "rows 400 of 1000")
        release.wait(10)

    async def asynchronous(job, context):
        context.progress(0.4, "rows 400 of 1000")
        await asyncio.to_thread(release.wait, 10)

    async with serving({Import: work if in_thread else asynchronous}):
        task = await client.enqueue(Import())

        async def shown():
            return (await inspector.task("default", task.id)).progress

        assert await until(shown) == Progress(0.4, "rows 400 of 1000")
        (server,) = await inspector.servers()
        assert [run.progress for run in server.running] == [Progress(0.4, "rows 400 of 1000")]
        release.set()


async def test_a_handler_that_ignores_its_timeout_keeps_its_slot_and_is_reported(
    serving, client, inspector, until, monkeypatch
):
    monkeypatch.setattr(runner, "_STUCK_AFTER", 0.1)
    release, seen = asyncio.Event(), []

    async def ignore(job, context):
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                seen.append(context.cancelled)

    async with serving({Stubborn: ignore}, concurrency=1) as server:
        await client.enqueue(Stubborn())
        await until(lambda: server.stuck("default") == 1)
        assert seen == [True]

        async def reported():
            (report,) = await inspector.servers()
            return [run.stuck for run in report.running] == [True]

        await until(reported)
        assert (await inspector.queue("default")).active == 1, "the slot is held"
        release.set()
        await until(lambda: server.stuck("default") == 0)
