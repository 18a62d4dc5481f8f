"""Single tasks, looked at while they move, on a real Valkey with a real server."""

import asyncio
from datetime import timedelta

import pytest

from duly.errors import NotFoundError
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
                seen.append(await inspector.tasks.find(task.id))

    assert len({found.state for found in seen}) > 1
    assert {(found.id, found.kind) for found in seen} == {(task.id, "restless")}


async def test_a_task_that_never_rests_is_listed_whole_or_not_at_all(client, inspector, serving):
    listed = set()

    async with serving({Restless: fail}):
        task = await client.enqueue(Restless(), max_attempts=300)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await inspector.tasks.find(task.id)).state is not TaskState.ARCHIVED:
                page = await inspector.tasks.list("default", TaskState.RETRY)
                listed |= {(found.id, found.kind) for found in page.tasks}

    assert listed == {(task.id, "restless")}


@pytest.mark.parametrize("state", [TaskState.WAITING, TaskState.SCHEDULED])
async def test_the_page_before_is_the_one_after_in_the_opposite_order(client, inspector, state):
    delay = timedelta(hours=1) if state is TaskState.SCHEDULED else None
    for number in range(7):
        await client.enqueue(Restless(), task_id=f"t{number}", delay=delay)
    first = await inspector.tasks.list("default", state, limit=3, newest=False)
    second = await inspector.tasks.list(
        "default", state, limit=3, newest=False, cursor=first.next_cursor
    )

    before = await inspector.tasks.list(
        "default", state, limit=3, newest=True, cursor=second.previous_cursor
    )

    assert [task.id for task in second.tasks] == ["t3", "t4", "t5"]
    assert [task.id for task in reversed(before.tasks)] == ["t0", "t1", "t2"]


@pytest.mark.parametrize("delay", [None, timedelta(hours=1)])
async def test_the_message_of_a_task_can_be_read_as_it_lies_in_the_broker(client, inspector, delay):
    task = await client.enqueue(Restless(), delay=delay)

    message = await inspector.tasks.message("default", task.id)

    assert task.id.encode() in message
    with pytest.raises(NotFoundError):
        await inspector.tasks.message("default", "another")
