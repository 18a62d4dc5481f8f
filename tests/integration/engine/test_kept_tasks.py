"""What is known of a task after its success, for as long as it is kept."""

from datetime import timedelta

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.keys import queue_keys
from duly.errors import NotFoundError
from duly.job import Job, Policy
from duly.task import AttemptOutcome, TaskState

HOUR = timedelta(hours=1)


class Kept(Job, kind="kept", policy=Policy(retention=HOUR, backoff=lambda *_: timedelta(0))):
    failures: int = 0


class Next(Job, kind="next"):
    pass


class Gone(Job, kind="gone"):
    pass


@pytest.fixture
async def client(broker_settings):
    async with Client.connect(broker_settings) as client:
        yield client


@pytest.fixture
async def inspector(broker_settings):
    async with Inspector.connect(broker_settings) as inspector:
        yield inspector


@pytest.fixture
def completed(inspector, until):
    """`await completed(task_id)`: the task, once it has succeeded."""

    async def wait(task_id):
        async def done():
            found.append(await inspector.tasks.get("default", task_id))
            return found[-1].state is TaskState.COMPLETED

        found = []
        await until(done)
        return found[-1]

    return wait


async def handle(job, context):
    if context.attempt <= job.failures:
        raise ValueError(f"attempt {context.attempt}")
    return "done"


@pytest.mark.parametrize("failures", [0, 2])
async def test_a_kept_task_says_when_its_attempts_ran_and_where(serve, client, completed, failures):
    server = await serve({Kept: handle})
    new = await client.enqueue(Kept(failures=failures))

    task = await completed(new.id)

    success = task.success
    assert (success.outcome, success.number) == (AttemptOutcome.SUCCEEDED, failures + 1)
    assert success.server == server.id
    # The broker's clock, and the worker's notion of it, in whole milliseconds.
    assert task.enqueued_at - timedelta(milliseconds=5) <= success.started_at
    assert success.started_at <= success.at == task.ended_at
    assert abs(success.at - success.started_at - success.duration) < timedelta(milliseconds=2)
    assert abs(task.due_at - task.ended_at - HOUR) < timedelta(seconds=30)
    assert [attempt.error for attempt in task.history] == [
        f"ValueError: attempt {number}" for number in range(failures, 0, -1)
    ]
    assert task.result == "done"


async def test_so_does_one_that_something_follows(serve, client, completed):
    async def follow(_job, context):
        context.then(Next())

    await serve({Kept: follow, Next: handle_nothing})
    new = await client.enqueue(Kept())

    assert (await completed(new.id)).success.number == 1


async def test_a_task_that_is_not_kept_leaves_nothing(serve, client, inspector, until, store):
    await serve({Gone: handle_nothing})
    new = await client.enqueue(Gone())

    async def gone():
        try:
            await inspector.tasks.get("default", new.id)
        except NotFoundError:
            return True
        return False

    await until(gone)
    keys = queue_keys("default")
    for key in (keys.history, keys.records, keys.tries, keys.completed):
        assert await store.connection.command("EXISTS", key) == 0


async def test_nothing_is_left_of_a_kept_task_that_is_deleted(
    serve, client, completed, inspector, store
):
    await serve({Kept: handle})
    new = await client.enqueue(Kept())
    await completed(new.id)

    await inspector.tasks.delete("default", new.id)

    assert await store.connection.command("EXISTS", queue_keys("default").history) == 0


async def handle_nothing(_job, _context):
    """Succeed."""
