"""What becomes of attempts, on a real Valkey with a real server."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import TracerProvider

from duly.clock import from_unix_ms
from duly.engine.enqueue.ticks import Ticks
from duly.engine.middleware.spans import TraceTasks
from duly.engine.storage.codec import Message, encode
from duly.errors import DeadlinePassedError
from duly.job import Job, Policy
from duly.schedule import Entry
from duly.task import AttemptOutcome, TaskState
from duly.testing.waiting import until


def soon(**options):
    return datetime.now(UTC) + timedelta(**options)


class Errand(Job, kind="errand", policy=Policy(backoff=lambda *_: timedelta(0))):
    pass


class Short(Job, kind="short", policy=Policy(lifetime=timedelta(milliseconds=300))):
    pass


class Patient(
    Job,
    kind="patient",
    policy=Policy(
        max_attempts=1,
        backoff=lambda *_: timedelta(0),
        is_failure=lambda error: not isinstance(error, ConnectionError),
        max_uncounted_failures=3,
    ),
):
    pass


async def archived(inspector, task):
    async def look():
        found = await inspector.tasks.find(task.id)
        return found if found.state is TaskState.ARCHIVED else None

    return await until(look)


async def test_a_running_attempt_is_cancelled_at_the_deadline(client, inspector, serving):
    deadlines = []

    async def hang(_, context):
        deadlines.append(context.deadline)
        await asyncio.Event().wait()

    async with serving({Errand: hang}) as server:
        await until(lambda: server.ready() is None)
        deadline = soon(seconds=3)  # so that it has surely begun
        task = await client.enqueue(Errand(), deadline=deadline)
        end = await archived(inspector, task)

    (attempt,) = end.history
    assert attempt.outcome is AttemptOutcome.EXPIRED
    assert attempt.error.startswith("TimeoutError: not done by its deadline 20")
    assert attempt.at >= deadline - timedelta(milliseconds=5)
    assert abs(deadlines[0] - deadline) < timedelta(milliseconds=1)


async def test_the_timeout_of_the_attempt_comes_first_where_it_is_shorter(
    client, inspector, serving
):
    async def hang(*_):
        await asyncio.Event().wait()

    async with serving({Errand: hang}):
        task = await client.enqueue(
            Errand(), deadline=soon(hours=1), timeout=timedelta(milliseconds=20), max_attempts=1
        )
        end = await archived(inspector, task)

    assert end.history[0].outcome is AttemptOutcome.TIMED_OUT


async def test_a_task_that_waited_past_its_deadline_is_archived_unrun(client, inspector, serving):
    ran = []
    deadline = soon(seconds=2)  # so that it is surely taken
    task = await client.enqueue(Errand(), deadline=deadline)
    await until(lambda: datetime.now(UTC) > deadline)

    async with serving({Errand: lambda *_: ran.append(1)}):
        end = await archived(inspector, task)

    assert ran == []
    assert (end.attempts, end.labels["deadline_ms"] / 1000) == (
        0,
        pytest.approx(deadline.timestamp(), abs=0.001),
    )
    assert end.history[0].outcome is AttemptOutcome.EXPIRED
    assert "passed before this attempt could begin" in end.history[0].error


async def test_the_policys_lifetime_begins_when_the_task_may_first_run(client):
    lifetime, later, before = timedelta(milliseconds=300), soon(hours=1), soon()

    waiting, scheduled = await client.enqueue(Short()), await client.enqueue(Short(), due=later)

    ends = [from_unix_ms(task.labels["deadline_ms"]) for task in (waiting, scheduled)]
    rounded = timedelta(milliseconds=5)  # the broker's clock and this one are not read at once
    assert before - rounded <= ends[0] - lifetime <= soon() + rounded
    assert abs(ends[1] - lifetime - later) <= rounded


async def test_a_ticks_task_has_the_policys_lifetime(broker_settings, inspector):
    stream_id = Entry(id="e", job=Short(), interval=timedelta(seconds=5))
    async with Ticks.connect(broker_settings) as ticks:
        (report,) = (await ticks.tick(stream_id)).reports

    task = await inspector.tasks.find(report.task_id)

    assert task.labels["deadline_ms"] == report.slot.timestamp() * 1000 + 300


async def test_a_task_that_could_only_run_after_its_deadline_is_refused(client):
    for options in (
        {"deadline": soon(seconds=-1)},
        {"due": soon(hours=2), "deadline": soon(hours=1)},
    ):
        with pytest.raises(DeadlinePassedError, match="errand could only start after its deadline"):
            await client.enqueue(Errand(), **options)


async def test_errors_that_are_no_failures_are_retried_without_counting(client, inspector, serving):
    contexts = []

    async def away(_, context):
        contexts.append(context.attempt)
        raise ConnectionError("the other side is away")

    async with serving({Patient: away}):
        task = await client.enqueue(Patient())
        end = await archived(inspector, task)
        report = await inspector.queues.get("default")

    assert contexts == [1, 1, 1, 1]
    assert (end.attempts, report.failed, report.processed) == (1, 1, 1)
    outcomes = [attempt.outcome.value for attempt in end.history]
    assert outcomes == ["failed", "uncounted", "uncounted", "uncounted"]


async def test_an_attempt_is_kept_with_its_start_and_its_trace(client, inspector, serving):
    parent = "0af7651916cd43dd8448eb211c80319c"

    async def fail(*_):
        raise ValueError("no such order")

    async with serving({Errand: fail}) as server:
        task = await client.enqueue(
            Errand(), max_attempts=1, headers={"traceparent": f"00-{parent}-b7ad6b7169203331-01"}
        )
        end = await archived(inspector, task)

    (attempt,) = end.history
    assert (attempt.trace_id, attempt.server) == (parent, server.id)
    assert attempt.started_at <= attempt.at <= attempt.started_at + timedelta(minutes=1)
    assert "duly/engine/worker/runner.py" not in attempt.traceback


async def test_an_attempts_own_span_names_its_trace(client, inspector, serving):
    async def fail(*_):
        raise ValueError("no such order")

    async with serving({Errand: fail}, middlewares=[TraceTasks(TracerProvider())]):
        task = await client.enqueue(Errand(), max_attempts=1)
        end = await archived(inspector, task)

    assert len(end.history[0].trace_id) == 32


async def test_times_beyond_the_calendar_run_and_are_shown(inspector, serving, valkey_server):
    """A foreign producer may write a retention of 200,000 years."""
    seen = []

    async def handler(_, context):
        seen.append(context.deadline)

    for_ever = 100_000_000 * 86_400_000
    message = Message(
        task_id="foreign",
        task_name="errand",
        labels={"timeout_ms": for_ever, "retention_ms": for_ever},
    )
    async with serving({Errand: handler}):
        with valkey_server.client() as raw:
            raw.xadd("duly:{default}:stream", {"data": encode(message)})
        await until(lambda: seen)

    (shown,) = (await inspector.tasks.list("default", TaskState.COMPLETED)).tasks
    assert (shown.id, shown.due_at, seen[0].year) == ("foreign", None, 9999)
