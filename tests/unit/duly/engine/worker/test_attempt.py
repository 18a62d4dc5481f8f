"""What becomes of attempts, on a real Valkey with a real server."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import TracerProvider

from duly.clock import from_unix_ms
from duly.engine.enqueue.ticks import Ticks
from duly.engine.middleware.spans import TraceTasks
from duly.engine.storage.codec import Message, encode
from duly.errors import DeadlinePassedError, Requeue
from duly.job import Job, Policy
from duly.schedule import Entry
from duly.task import AttemptOutcome, Progress, Replacement, TaskState
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


class Spoiling(Job, kind="spoiling", policy=Policy(max_attempts=1, retention=timedelta(hours=1))):
    number: int


class Plain(Job, kind="plain", policy=Policy(max_attempts=1)):
    number: int


class Held(Job, kind="held", policy=Policy(max_attempts=3)):
    number: int = 0


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


WRITTEN = {
    "id": [],
    "kind": None,
    "queue": None,
    "attempt": "x",
    "max_attempts": None,
    "headers": 5,
    "started_ms": "x",
    "deadline_ms": "x",
    "waiting_since_ms": "x",
    "successors": 5,
    "reported": 5,
    "partial_result": 5,
    "cancelled": "x",
    "stopping": 5,
}


@pytest.mark.parametrize("fails", [False, True])
async def test_a_handler_that_writes_into_its_context_ends_all_the_same(
    client, serving, ended, complaints, fails
):
    async def handler(job, context):
        setattr(context, *list(WRITTEN.items())[job.number])
        if fails:
            raise ValueError("no")

    async with serving({Spoiling: handler}):
        for number in range(len(WRITTEN)):
            await client.enqueue(Spoiling(number=number))
        report = await ended()

    assert report.archived + report.completed >= len(WRITTEN)


class Odd:
    """As arrays are: neither true nor false."""

    def __bool__(self):
        raise ValueError("ambiguous")


BROKEN = {
    "a partial result without a truth": ("partial_result", Odd(), None, "ValueError: ambiguous"),
    "a partial result that is no JSON": ("partial_result", [1], None, "TypeError: "),
    "a replacement that is none": ("replacement", "zz", Requeue, "AttributeError: "),
    "a replacement without a message": (
        "replacement",
        Replacement(message=[1], wait=timedelta(0)),
        Requeue,
        "TypeError: ",
    ),
    "a replacement of a failure": (
        "replacement",
        Replacement(message=[1], wait=timedelta(0)),
        LookupError,
        "RuntimeError: LookupError",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_outcome_that_the_context_spoils_is_a_failure(  # noqa: PLR0917
    client, inspector, serving, ended, complaints, name
):
    field, value, raises, text = BROKEN[name]

    async def handler(job, context):
        if job.number == 1:
            setattr(context, field, value)
            if raises is not None:
                raise raises

    async with serving({Spoiling: handler}) as server:
        tasks = [await client.enqueue(Spoiling(number=number)) for number in range(3)]
        report = await ended()
        assert not server.receiver.running()
    assert (report.archived, report.completed) == (1, 2)
    found = await inspector.tasks.find(tasks[1].id)
    assert found.history[0].error.startswith(text)


@pytest.mark.parametrize("job", [Spoiling, Plain])
async def test_successors_are_a_failure_where_nobody_can_tell_whether_there_are_any(  # noqa: PLR0917
    client, inspector, serving, ended, complaints, job
):
    async def handler(job, context):
        context.successors = [] if job.number else Odd()

    async with serving({job: handler}):
        tasks = [await client.enqueue(job(number=number)) for number in range(2)]
        report = await ended()

    assert (report.archived, report.processed) == (1, 2)
    assert (await inspector.tasks.find(tasks[0].id)).state is TaskState.ARCHIVED


@pytest.mark.parametrize(("field", "value"), [("headers", None), ("started_ms", "x")])
async def test_a_task_is_cancelled_whatever_its_context_holds(  # noqa: PLR0917
    client, inspector, serving, ended, complaints, field, value
):
    begun = asyncio.Event()

    async def handler(job, context):
        setattr(context, field, value)
        begun.set()
        await asyncio.Event().wait()

    async with serving({Held: handler}):
        task = await client.enqueue(Held())
        await asyncio.wait_for(begun.wait(), 60)
        await inspector.tasks.cancel("default", task.id, outcome="archive")
        await ended()

    found = await inspector.tasks.find(task.id)
    (attempt_,) = found.history
    assert (found.state, attempt_.outcome) == (TaskState.ARCHIVED, "cancelled")
    assert attempt_.at - timedelta(minutes=2) < attempt_.started_at <= attempt_.at


async def test_what_a_handler_writes_into_its_context_hides_no_other_task(
    client, inspector, serving, until, complaints
):
    release = asyncio.Event()

    async def handler(job, context):
        if job.number:
            context.progress(0.5, "half")
            context.write_result("so far")
        else:
            context.id, context.kind, context.started_ms = [], object(), object()
            context.reported, context.partial_result = object(), object()
        await release.wait()

    async with serving({Held: handler}, lease=timedelta(seconds=1)):
        tasks = [await client.enqueue(Held(number=number)) for number in range(2)]

        async def shown():
            found = [run for one in await inspector.servers.list() for run in one.running]
            progress = {run.id: run.progress for run in found}
            kept = (await inspector.tasks.find(tasks[1].id)).result
            return progress if len(progress) == 2 and kept == "so far" else None

        progress = await until(shown)
        assert progress == {tasks[0].id: None, tasks[1].id: Progress(0.5, "half")}
        release.set()
