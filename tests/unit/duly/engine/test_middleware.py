from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

import pytest

from duly.engine.middleware import Middleware, Outcome
from duly.job import Job, Policy

session = ContextVar("session", default="none")


class Save(Job, kind="save", policy=Policy(max_attempts=1)):
    fails: bool = False


class Told(Middleware):
    """Keeps how attempts ended."""

    def __init__(self):
        self.ends = []

    def ended(self, end):
        self.ends.append((end.outcome, type(end.error)))


class ToldOfFailures(Told):
    """Wants nothing but failures."""

    def wants(self, outcome):
        return outcome is not Outcome.SUCCEEDED


class Around(Middleware):
    """Puts a session around handlers, and tells of it."""

    def __init__(self, name, calls, *, entering=None, leaving=None, swallows=()):
        self.name, self.calls = name, calls
        self.entering, self.leaving, self.swallows = entering, leaving, swallows

    @asynccontextmanager
    async def around(self, _):
        self.calls.append(f"{self.name} opens")
        if self.entering:
            raise self.entering
        token = session.set(f"{session.get()} {self.name}")
        try:
            with suppress(*self.swallows):
                yield
            if self.leaving:
                raise self.leaving
        finally:
            session.reset(token)
            self.calls.append(f"{self.name} closes")


@pytest.fixture
def run(serving, client, until):
    """Return a function that runs one task within middlewares and tells how it ended."""

    async def once(handler, *middlewares, **payload):
        told = Told()
        async with serving({Save: handler}, middlewares=(*middlewares, told)):
            await client.enqueue(Save(**payload))
            await until(lambda: told.ends)
        return told.ends[0]

    return once


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_handler_runs_inside_in_the_order_of_registration(run, in_thread):
    calls = []

    def work(job, context):
        calls.append(session.get())

    async def asynchronous(job, context):
        work(job, context)

    end = await run(work if in_thread else asynchronous, Around("a", calls), Around("b", calls))

    assert end == (Outcome.SUCCEEDED, type(None))
    assert calls == ["a opens", "b opens", "none a b", "b closes", "a closes"]


async def handle(job, context):
    if job.fails:
        raise LookupError


@pytest.mark.parametrize("where", ["entering", "leaving"])
async def test_an_error_of_it_is_the_attempts_error(run, where):
    calls = []
    end = await run(handle, Around("a", calls), Around("b", calls, **{where: OSError("x")}))

    assert end == (Outcome.ARCHIVED, OSError)
    assert calls[-1] == "a closes"


async def test_what_the_handler_raises_passes_through_unless_it_is_swallowed(run):
    assert await run(handle, Around("a", []), fails=True) == (Outcome.ARCHIVED, LookupError)
    swallowing = Around("a", [], swallows=(LookupError,))
    assert await run(handle, swallowing, fails=True) == (Outcome.SUCCEEDED, type(None))


async def test_it_is_left_in_order_when_the_handler_is_cancelled(serving, client, inspector, until):
    import asyncio

    calls, told = [], Told()

    async def hang(job, context):
        calls.append("runs")
        await asyncio.Event().wait()

    async with serving({Save: hang}, middlewares=(Around("a", calls), told)):
        task = await client.enqueue(Save())
        await until(lambda: "runs" in calls)
        await inspector.tasks.cancel("default", task.id)
        await until(lambda: told.ends)

    assert calls == ["a opens", "runs", "a closes"]
    assert told.ends[0][0] is Outcome.CANCELLED


@pytest.mark.parametrize("fails", [False, True])
async def test_a_middleware_is_told_only_of_the_outcomes_it_wants(run, fails):
    failures = ToldOfFailures()

    async def save(job, _):
        if job.fails:
            raise ValueError("no such order")

    end = await run(save, failures, fails=fails)

    assert failures.ends == ([end] if fails else [])
