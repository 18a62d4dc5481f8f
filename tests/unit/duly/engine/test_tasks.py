"""Single tasks, looked at while they move, on a real Valkey with a real server."""

import asyncio
from datetime import timedelta

from duly.job import Job, Policy
from duly.task import TaskState
from duly.testing.waiting import PATIENCE_SECONDS


class Restless(Job, kind="restless", policy=Policy(backoff=lambda *_: timedelta(0))):
    pass


async def fail(*_):
    raise ValueError("no such order")


async def test_a_task_that_never_rests_is_found_every_time(client, inspector, serving):
    seen = []

    async with serving({Restless: fail}):
        task = await client.enqueue(Restless(), max_attempts=300)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not seen or seen[-1].state is not TaskState.ARCHIVED:
                seen.append(await inspector.find(task.id))

    assert len({found.state for found in seen}) > 1
    assert {(found.id, found.kind) for found in seen} == {(task.id, "restless")}


async def test_a_task_that_never_rests_is_listed_whole_or_not_at_all(client, inspector, serving):
    listed = set()

    async with serving({Restless: fail}):
        task = await client.enqueue(Restless(), max_attempts=300)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await inspector.find(task.id)).state is not TaskState.ARCHIVED:
                page = await inspector.tasks("default", TaskState.RETRY)
                listed |= {(found.id, found.kind) for found in page.tasks}

    assert listed == {(task.id, "restless")}
