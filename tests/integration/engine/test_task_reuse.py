"""Short handlers of a whole server share asyncio tasks: to make one takes longer than they run."""

import asyncio

import pytest

from duly.job import Job
from duly.runtime.attemptlog import ATTEMPT

COUNT = 200


class Short(Job, kind="short"):
    number: int


@pytest.mark.parametrize("waits", [False, True])
async def test_only_handlers_that_wait_have_an_asyncio_task_each(client, serve, until, waits):
    tasks, seen = [], []

    async def handle(job, context):
        tasks.append(asyncio.current_task())
        if waits:
            await asyncio.sleep(0)
        seen.append(ATTEMPT.get().id == context.id)

    await client.enqueue_many([Short(number=number) for number in range(COUNT)])
    await serve({Short: handle}, concurrency=50)
    await until(lambda: len(seen) == COUNT)

    assert all(seen)
    assert len(set(tasks)) == COUNT if waits else len(set(tasks)) < COUNT / 2
