"""What becomes of attempts, on a real Valkey with a real server."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import TracerProvider

from duly.clock import from_unix_ms
from duly.engine.middleware.tracing import TraceTasks
from duly.engine.ticks import Ticks
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
        max_excuses=3,
    ),
):
    pass


async def archived(inspector, task):
    async def look():
        found = await inspector.find(task.id)
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
    rounded = timedelta(milliseconds=1)
    assert before - rounded <= ends[0] - lifetime <= soon()
    assert abs(ends[1] - lifetime - later) <= rounded


async def test_a_ticks_task_has_the_policys_lifetime(broker_settings, inspector):
    entry = Entry(id="e", job=Short(), interval=timedelta(seconds=5))
    async with Ticks.connect(broker_settings) as ticks:
        (report,) = (await ticks.tick(entry)).reports

    task = await inspector.find(report.task_id)

    assert task.labels["deadline_ms"] == report.slot.timestamp() * 1000 + 300


async def test_a_task_that_could_only_run_after_its_deadline_is_refused(client):
    for options in (
        {"deadline": soon(seconds=-1)},
        {"due": soon(hours=2), "deadline": soon(hours=1)},
    ):
        with pytest.raises(DeadlinePassedError, match="errand could only run after its deadline"):
            await client.enqueue(Errand(), **options)


async def test_errors_that_are_no_failures_are_retried_without_counting(client, inspector, serving):
    contexts = []

    async def away(_, context):
        contexts.append(context.attempt)
        raise ConnectionError("the other side is away")

    async with serving({Patient: away}):
        task = await client.enqueue(Patient())
        end = await archived(inspector, task)
        report = await inspector.queue("default")

    assert contexts == [1, 1, 1, 1]
    assert (end.attempts, report.failed, report.processed) == (1, 1, 1)
    outcomes = [attempt.outcome.value for attempt in end.history]
    assert outcomes == ["failed", "excused", "excused", "excused"]


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
    assert "duly/engine/runner.py" not in attempt.traceback


async def test_an_attempts_own_span_names_its_trace(client, inspector, serving):
    async def fail(*_):
        raise ValueError("no such order")

    async with serving({Errand: fail}, middlewares=[TraceTasks(TracerProvider())]):
        task = await client.enqueue(Errand(), max_attempts=1)
        end = await archived(inspector, task)

    assert len(end.history[0].trace_id) == 32


async def test_times_beyond_the_calendar_run_and_are_shown(client, inspector, serving):
    """A client may ask for a retention of 200,000 years, and a stranger may write anything."""
    seen = []

    async def handler(_, context):
        seen.append(context.deadline)

    for_ever = timedelta(days=100_000_000)
    task = await client.enqueue(Errand(), retention=for_ever, timeout=for_ever)
    async with serving({Errand: handler}):
        await until(lambda: seen)

    (shown,) = (await inspector.tasks("default", TaskState.COMPLETED)).tasks
    assert (shown.id, shown.due_at.year, seen[0].year) == (task.id, 9999, 9999)
