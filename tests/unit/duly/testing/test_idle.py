"""Jobs are run until nothing is left to do, without waiting for time."""

import asyncio
import time
from datetime import timedelta

import pytest

from duly.engine.inspection.inspector import Inspector
from duly.engine.middleware import Outcome
from duly.errors import Skip
from duly.job import Job, Policy
from duly.testing.waiting import NotInTimeError


class Greet(Job, kind="greet", policy=Policy(max_attempts=6, backoff_base=timedelta(hours=1))):
    """Says hello."""

    name: str = "you"


class Follow(Job, kind="follow", policy=Policy(queue="low")):
    """Comes after a greeting."""


async def nothing(_job, _context):
    return None


async def test_nothing_to_do_is_done_at_once(run_until_idle):
    assert await run_until_idle({Greet: nothing}) == []


async def test_retries_run_at_once_with_their_attempts_counted(client, run_until_idle):
    async def fails_four_times(_job, context):
        if context.attempt < 5:
            raise ConnectionError(f"attempt {context.attempt}")

    task = await client.enqueue(Greet())
    begin = time.monotonic()

    ran = await run_until_idle({Greet: fails_four_times})

    assert [(run.id, run.attempt, run.outcome) for run in ran] == [
        *((task.id, number, Outcome.RETRIED) for number in range(1, 5)),
        (task.id, 5, Outcome.SUCCEEDED),
    ]
    assert str(ran[0].error) == "attempt 1"
    assert time.monotonic() - begin < 300


async def test_tasks_due_after_the_skipped_time_stay(client, run_until_idle):
    await client.enqueue(Greet(name="soon"), delay=timedelta(minutes=5))
    later = await client.enqueue(Greet(name="later"), delay=timedelta(hours=5))

    ran = await run_until_idle({Greet: nothing}, skip=timedelta(hours=1))

    assert len(ran) == 1
    assert [run.id for run in await run_until_idle({Greet: nothing})] == [later.id]


async def test_successors_in_other_queues_run_too(client, run_until_idle):
    async def greet(_job, _context):
        await client.enqueue(Follow())

    await client.enqueue_many([Greet(), Greet()])
    await client.enqueue(Greet(), queue="elsewhere")

    ran = await run_until_idle({Greet: greet, Follow: nothing})

    assert sorted(run.kind for run in ran) == ["follow"] * 3 + ["greet"] * 3
    assert {run.queue for run in ran} == {"default", "elsewhere", "low"}


async def test_a_given_up_task_is_archived(broker_settings, client, run_until_idle):
    async def skips(_job, _context):
        raise Skip("no such order")

    await client.enqueue(Greet())

    (run,) = await run_until_idle({Greet: skips})

    assert run.outcome is Outcome.ARCHIVED
    async with Inspector.connect(broker_settings) as inspector:
        assert (await inspector.queues.get("default")).archived == 1


async def test_endless_work_is_an_error_that_shows_what_is_left(client, run_until_idle):
    async def hangs(_job, _context):
        await asyncio.Event().wait()

    await client.enqueue(Greet(), timeout=timedelta(hours=1))

    with pytest.raises(NotInTimeError, match="active=1"):
        await run_until_idle({Greet: hangs}, timeout=5)
