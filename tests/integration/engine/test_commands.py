"""Servers are made quiet, woken and stopped from afar."""

import asyncio

import pytest

from duly.engine.reports import ServerStatus
from duly.errors import NotFoundError
from duly.job import Job

BOTH = {"critical": 1, "default": 1}


class Step(Job, kind="step"):
    number: int = 0


class Steps:
    """Notes how many tasks each server ran."""

    def __init__(self):
        self.ran = 0
        self.hold = None

    async def step(self, _job, _context):
        self.ran += 1
        if self.hold is not None:
            await self.hold.wait()


async def status(inspector, server):
    return next(report.status for report in await inspector.servers() if report.id == server.id)


async def test_a_quiet_server_takes_nothing_until_it_is_woken(
    client, inspector, serve, until, stopwatch
):
    one, other = Steps(), Steps()
    first = await serve({Step: one.step}, queues=BOTH)
    await serve({Step: other.step})

    told = stopwatch()
    await inspector.quiet(first.id)
    await until(lambda: first.ready() == "quiet")
    assert stopwatch() - told < 1
    await client.enqueue_many([Step(number=number) for number in range(200)])
    await until(lambda: other.ran == 200, what="200 tasks elsewhere")
    assert one.ran == 0

    async def is_quiet():
        return await status(inspector, first) is ServerStatus.QUIET

    await until(is_quiet)
    told = stopwatch()
    await inspector.wake(first.id)
    await until(lambda: first.ready() is None)
    await inspector.quiet(first.id)
    await until(lambda: first.ready() == "quiet", what="quiet a second time")
    assert stopwatch() - told < 2


async def test_what_a_quiet_server_runs_goes_on(client, inspector, serve, until, stopwatch):
    steps = Steps()
    steps.hold = asyncio.Event()
    server = await serve({Step: steps.step})
    await client.enqueue(Step())
    await until(lambda: steps.ran == 1)

    await inspector.quiet(server.id)
    await until(lambda: server.ready() == "quiet")
    await client.enqueue(Step())
    steps.hold.set()

    await until(lambda: one_processed(inspector), what="the task's end")
    assert steps.ran == 1
    woken = stopwatch()
    await inspector.wake(server.id)
    await until(lambda: steps.ran == 2)
    assert stopwatch() - woken < 1


async def one_processed(inspector):
    report = await inspector.queue("default")
    return (report.processed, report.waiting, report.active) == (1, 1, 0)


async def test_a_server_is_stopped_in_good_order(client, inspector, serve, until, stopwatch):
    steps = Steps()
    steps.hold = asyncio.Event()
    server = await serve({Step: steps.step}, queues=BOTH)
    await client.enqueue(Step())
    await until(lambda: steps.ran == 1)

    told = stopwatch()
    await inspector.stop(server.id)

    await until(lambda: server.ready() == "draining")
    assert stopwatch() - told < 1
    steps.hold.set()
    await asyncio.wait_for(server.running, 60)
    assert await inspector.servers() == []
    assert (await inspector.queue("default")).processed == 1


async def test_a_server_that_is_not_there_can_not_be_told_anything(inspector, serve):
    await serve({Step: Steps().step})

    for tell in (inspector.quiet, inspector.wake, inspector.stop):
        with pytest.raises(NotFoundError):
            await tell("nobody")
