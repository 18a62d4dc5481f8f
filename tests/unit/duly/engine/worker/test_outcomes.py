"""Whatever handlers, payloads, policies and middlewares do, each task gets an outcome."""

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from pydantic import field_validator
from structlog.testing import capture_logs

from duly.engine.middleware import Middleware
from duly.engine.middleware.log import LogTasks
from duly.engine.middleware.metrics import CountTasks
from duly.engine.worker import attempt
from duly.errors import NotFoundError, Requeue, Retry, Skip
from duly.job import Job, Policy
from duly.task import TaskState

UNIQUE = timedelta(hours=1)


class Raiser(Job, kind="raiser", policy=Policy(max_attempts=1, unique_for=UNIQUE)):
    number: int


class LimitedRaiser(
    Job, kind="limited", policy=Policy(max_attempts=1, unique_for=UNIQUE, max_running=1)
):
    number: int


class Patient(Job, kind="patient", policy=Policy(max_attempts=3)):
    number: int = 0


class Kept(Job, kind="kept", policy=Policy(max_attempts=1, retention=timedelta(hours=1))):
    number: int


class Checked(Job, kind="checked", policy=Policy(unique_for=UNIQUE)):
    number: int

    @field_validator("number")
    @classmethod
    def check(cls, number):
        if TESTING:
            raise REFUSALS[number]
        return number


TESTING = []
"""Not empty while the worker validates."""


class StrRaisesError(Exception):
    def __str__(self):
        raise LookupError("no text")

    __repr__ = __str__


class StrIsNoneError(Exception):
    def __str__(self):
        return None  # noqa: PLE0307


class StrExitsError(Exception):
    def __str__(self):
        raise SystemExit(3)


class OwnBaseError(BaseException):
    pass


class ClassRaisesError(Exception):
    @property
    def __class__(self):
        raise RuntimeError("no class")


class NotesRaiseError(Exception):
    @property
    def __notes__(self):
        raise KeyboardInterrupt


class AfterRaisesError(Retry):
    @property
    def after(self):
        raise RuntimeError("no time")

    @after.setter
    def after(self, _):
        pass


RAISED = {
    "str raises": (StrRaisesError(), "StrRaisesError: its text is unavailable"),
    "str is None": (StrIsNoneError(), "StrIsNoneError: its text is unavailable"),
    "str exits": (StrExitsError(), "StrExitsError: its text is unavailable"),
    "own BaseException": (OwnBaseError("x"), "OwnBaseError: x"),
    "GeneratorExit": (GeneratorExit(), "GeneratorExit"),
    "KeyboardInterrupt": (KeyboardInterrupt(), "KeyboardInterrupt"),
    "SystemExit": (SystemExit(1), "SystemExit: 1"),
    "StopIteration": (StopIteration("x"), ""),
    "StopAsyncIteration": (StopAsyncIteration("x"), ""),
    "CancelledError": (asyncio.CancelledError("by itself"), "CancelledError: by itself"),
    "group": (ExceptionGroup("two", [ValueError("a")]), "ExceptionGroup: two"),
    "base group": (BaseExceptionGroup("two", [KeyboardInterrupt()]), "BaseExceptionGroup: two"),
    "surrogate": (OSError(os.fsdecode(b"caf\xe9")), "OSError: caf?"),
    "class raises": (ClassRaisesError("x"), ""),
    "notes raise": (NotesRaiseError("x"), "NotesRaiseError: x"),
    "after raises": (AfterRaisesError("x"), ""),
    "no text": (ValueError(), "ValueError"),
}
REFUSALS = [TypeError("12"), OwnBaseError("x"), KeyboardInterrupt(), StrRaisesError()]


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def middlewares(registry):
    return LogTasks(debug=True), CountTasks(registry)


def running(registry):
    (gauge,) = (found for found in registry.collect() if found.name == "duly_tasks_running")
    return sum(sample.value for sample in gauge.samples)


@pytest.mark.parametrize("job", [Raiser, LimitedRaiser])
@pytest.mark.parametrize("place", ["coroutine", "thread", "awaited"])
async def test_whatever_a_handler_raises_is_recorded(  # noqa: PLR0917
    client, inspector, serving, ended, middlewares, registry, complaints, job, place
):
    raised = list(RAISED.values())

    def thread(payload, _):
        raise raised[payload.number][0]

    async def coroutine(payload, _):
        raise raised[payload.number][0]

    async def awaited(payload, _):
        future = asyncio.get_running_loop().create_future()
        future.set_exception(raised[payload.number][0])
        await future

    handler = {"thread": thread, "coroutine": coroutine, "awaited": awaited}[place]
    async with serving({job: handler}, middlewares=middlewares):
        tasks = [await client.enqueue(job(number=number)) for number in range(len(raised))]
        report = await ended()
        assert (report.archived, report.processed) == (len(raised), len(raised))
        assert running(registry) == 0
        for (_, text), task in zip(raised, tasks, strict=True):
            found = await inspector.tasks.find(task.id)
            assert (found.state, found.attempts) == (TaskState.ARCHIVED, 1)
            assert found.history[0].error.startswith(text) or place == "awaited"
        # The locks are free: each payload is accepted again, and the worker still works.
        for number in range(len(raised)):
            await client.enqueue(job(number=number))
        await ended()


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        (30, 0, 900),
        ("soon", 0, 900),
        (timedelta(seconds=-5), -1, 60),
        (timedelta.max, 36_000 * 86_400, 37_000 * 86_400),
        (timedelta.min, -1, 60),
        (timedelta(hours=2), 7_000, 7_300),
    ],
)
async def test_whatever_wait_a_handler_asks_for_the_task_is_retried(  # noqa: PLR0917
    client, inspector, serving, until, middlewares, registry, complaints, after, least, most
):
    async def handler(_, context):
        if context.attempt == 1:
            raise Retry("later", after=after)
        await asyncio.Event().wait()

    async with serving(
        {Patient: handler}, middlewares=middlewares, drain=timedelta(milliseconds=10)
    ):
        task = await client.enqueue(Patient())

        async def retried():
            found = await inspector.tasks.find(task.id)
            return found if found.attempts else None

        found = await until(retried)
        assert found.history[0].error.startswith("Retry: later")
        if found.state is TaskState.RETRY:
            if least > 0:  # else it may run again already
                await until(lambda: running(registry) == 0)
            wait = (found.due_at - found.history[0].at).total_seconds()
            assert least <= wait <= most
        else:
            assert least < 60, "it runs again already"


@pytest.mark.parametrize("number", range(len(REFUSALS)))
async def test_a_payload_whose_validator_raises_anything_is_quarantined(  # noqa: PLR0917
    client, inspector, serving, until, complaints, number
):
    task = await client.enqueue(Checked(number=number))
    TESTING.append(True)
    try:
        async with serving({Checked: print}):

            async def quarantined():
                found = await inspector.tasks.find(task.id)
                return found if found.state is TaskState.QUARANTINED else None

            found = await until(quarantined)
    finally:
        TESTING.clear()
    name = type(REFUSALS[number]).__name__
    assert found.history[0].error == f"its payload's validation raised {name}"
    await client.enqueue(Checked(number=number))


async def test_a_task_that_cannot_be_prepared_is_quarantined(  # noqa: PLR0917
    client, inspector, serving, until, complaints, monkeypatch
):
    def fail(_):
        raise OwnBaseError("not foreseen")

    monkeypatch.setattr(attempt, "headers", fail)
    with capture_logs() as lines:
        async with serving({Raiser: print}):
            task = await client.enqueue(Raiser(number=0))

            async def quarantined():
                found = await inspector.tasks.find(task.id)
                return found if found.state is TaskState.QUARANTINED else None

            found = await until(quarantined)
    assert found.history[0].error == "it could not be prepared: OwnBaseError"
    assert [line for line in lines if line["event"] == "Task could not be prepared"]


class Swallowing(Middleware):
    """Is left by an error of its own, whatever the handler did."""

    def __init__(self, error):
        self.error = error

    @asynccontextmanager
    async def around(self, _):
        yield
        raise self.error


@pytest.mark.parametrize("error", [OwnBaseError("x"), KeyboardInterrupt(), StrIsNoneError()])
@pytest.mark.parametrize("job", [Raiser, LimitedRaiser])
async def test_what_a_middleware_raises_around_a_handler_is_the_attempts_error(  # noqa: PLR0917
    client, serving, ended, registry, complaints, error, job
):
    async with serving({job: print}, middlewares=[Swallowing(error), CountTasks(registry)]):
        await client.enqueue(job(number=0))
        report = await ended()

    assert (report.archived, report.processed) == (1, 1)
    assert running(registry) == 0


def circular():
    found = []
    found.append(found)
    return found


RESULTS = [object(), circular(), os.fsdecode(b"\xe9"), {1j: 2}, "x" * 300_000, lambda: None]


async def test_a_result_that_cannot_be_kept_is_the_handlers_error(  # noqa: PLR0917
    client, inspector, serving, ended, middlewares, registry, complaints
):
    async def handler(job, _):
        return RESULTS[job.number]

    async with serving({Kept: handler}, middlewares=middlewares):
        for number in range(len(RESULTS)):
            await client.enqueue(Kept(number=number))
        report = await ended()

    assert report.archived == len(RESULTS)
    assert running(registry) == 0


class Hostile(Middleware):
    def __init__(self, error):
        self.error = error

    def began(self, _):
        raise self.error

    def ended(self, _):
        raise self.error

    def quarantined(self, *_):
        raise self.error

    def dead_lettered(self, _):
        raise self.error


@pytest.mark.parametrize("job", [Raiser, LimitedRaiser])
@pytest.mark.parametrize("error", [ValueError("x"), OwnBaseError(), StrRaisesError()])
async def test_whatever_a_middleware_raises_tasks_end(  # noqa: PLR0917
    client, serving, ended, valkey_server, until, inspector, registry, complaints, job, error
):
    async def handler(job, _):
        if job.number:
            raise ValueError("no such order")

    hostile = Hostile(error)
    with capture_logs() as lines:
        async with serving({job: handler}, middlewares=[hostile, CountTasks(registry)]):
            for number in range(3):
                await client.enqueue(job(number=number))
            with valkey_server.client() as raw:
                raw.xadd("duly:{default}:stream", {"data": "not a task"})
            report = await ended()

    assert (report.archived, report.quarantined, report.processed) == (2, 1, 3)
    assert len([line for line in lines if line["event"] == "Middleware failed"]) == 10
    assert running(registry) == 0


async def test_a_note_that_is_no_text_is_shown_and_the_server_lives(
    client, inspector, serving, until, complaints
):
    release = asyncio.Event()

    async def handler(_, context):
        context.progress(0.5, os.fsdecode(b"caf\xe9"))
        await release.wait()

    async with serving({Patient: handler}, lease=timedelta(seconds=1)) as server:
        await client.enqueue(Patient())

        async def shown():
            found = [run.progress for one in await inspector.servers.list() for run in one.running]
            return found[0] if found else None

        progress = await until(shown)
        assert (progress.fraction, progress.note) == (0.5, "caf?")
        assert server.ready() is None
        release.set()


async def fail_to_close():
    try:
        await asyncio.Event().wait()
    finally:
        raise ConnectionError("lost while rolling back")


async def fail_by_child(begun):
    async with asyncio.TaskGroup() as group:
        group.create_task(fail_to_close())
        begun.set()


@asynccontextmanager
async def unclosable():
    yield
    raise OwnBaseError("not closed")


class Around(Middleware):
    def around(self, _):
        return unclosable()


async def swallow():
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


@pytest.fixture(params=["itself", "child", "middleware"])
def cleanup(request):
    """A handler whose cleanup raises when it is cancelled; when it has begun; what is around."""
    begun = asyncio.Event()

    async def handler(job, context):
        if request.param == "child":
            await fail_by_child(begun)
        begun.set()
        await (swallow() if request.param == "middleware" else fail_to_close())

    return handler, begun, [Around()] if request.param == "middleware" else []


@pytest.mark.parametrize("job", [Raiser, LimitedRaiser])
async def test_the_end_of_the_drain_costs_no_attempt_whatever_cleanup_raises(  # noqa: PLR0917
    client, inspector, serving, complaints, cleanup, job
):
    handler, begun, middlewares = cleanup
    with capture_logs() as lines:
        async with serving(
            {job: handler},
            middlewares=[*middlewares, LogTasks()],
            drain=timedelta(milliseconds=10),
        ):
            task = await client.enqueue(job(number=0))
            await asyncio.wait_for(begun.wait(), 60)

    found = await inspector.tasks.find(task.id)
    assert (found.state, found.attempts, found.history) == (TaskState.WAITING, 0, ())
    (line,) = [line for line in lines if line["event"] == "Task requeued"]
    assert line["error"], "what the cleanup raised is not kept silent"


@pytest.mark.parametrize("outcome", ["archived", "retry", "dropped"])
async def test_a_cancelled_task_becomes_what_was_asked_for_whatever_cleanup_raises(  # noqa: PLR0917
    client, inspector, serving, ended, complaints, cleanup, outcome
):
    handler, begun, middlewares = cleanup
    asked = {"archived": "archive", "retry": "retry", "dropped": "delete"}[outcome]
    async with serving({Patient: handler}, middlewares=middlewares, drain=timedelta(seconds=1)):
        task = await client.enqueue(Patient())
        await asyncio.wait_for(begun.wait(), 60)
        begun.clear()
        await inspector.tasks.cancel("default", task.id, outcome=asked)
        if outcome == "retry":
            await asyncio.wait_for(begun.wait(), 60)
        else:
            await ended()

    if outcome == "dropped":
        with pytest.raises(NotFoundError):
            await inspector.tasks.find(task.id)
        return
    found = await inspector.tasks.find(task.id)
    assert found.history[-1].outcome == "cancelled"
    assert (found.state is TaskState.ARCHIVED) == (outcome == "archived")


@pytest.mark.parametrize(
    ("signal", "state"), [(Skip, TaskState.ARCHIVED), (Requeue, TaskState.WAITING)]
)
async def test_what_a_handler_asks_for_when_it_is_interrupted_holds(  # noqa: PLR0917
    client, inspector, serving, complaints, signal, state
):
    begun = asyncio.Event()

    async def handler(job, context):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise signal("as it is") from None

    async with serving({Patient: handler}, drain=timedelta(milliseconds=10)):
        task = await client.enqueue(Patient())
        await asyncio.wait_for(begun.wait(), 60)

    assert (await inspector.tasks.find(task.id)).state is state
