"""Servers are made quiet, woken and stopped from afar."""

import asyncio

import pytest

from duly.engine.storage.reports import ServerStatus
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
    return next(
        report.status for report in await inspector.servers.list() if report.id == server.id
    )


def takes_nothing(server):
    """Tell whether it is quiet, and the read that was under way has ended."""
    return server.ready() == "quiet" and not server.receiver._fetcher._waits


async def test_a_quiet_server_takes_nothing_until_it_is_woken(
    client, inspector, serve, until, stopwatch
):
    one, other = Steps(), Steps()
    first = await serve({Step: one.step}, queues=BOTH)
    await serve({Step: other.step})

    since = stopwatch()
    await inspector.servers.quiet(first.id)
    await until(lambda: takes_nothing(first))
    assert stopwatch() - since < 1
    await client.enqueue_many([Step(number=number) for number in range(200)])
    await until(lambda: other.ran == 200, what="200 tasks elsewhere")
    assert one.ran == 0

    async def is_quiet():
        return await status(inspector, first) is ServerStatus.QUIET

    await until(is_quiet)
    since = stopwatch()
    await inspector.servers.resume(first.id)
    await until(lambda: first.ready() is None)
    await inspector.servers.quiet(first.id)
    await until(lambda: first.ready() == "quiet", what="quiet a second time")
    assert stopwatch() - since < 2


async def test_what_a_quiet_server_runs_goes_on(client, inspector, serve, until, stopwatch):
    steps = Steps()
    steps.hold = asyncio.Event()
    server = await serve({Step: steps.step})
    await client.enqueue(Step())
    await until(lambda: steps.ran == 1)

    await inspector.servers.quiet(server.id)
    await until(lambda: takes_nothing(server))
    await client.enqueue(Step())
    steps.hold.set()

    await until(lambda: one_processed(inspector), what="the task's end")
    assert steps.ran == 1
    woken = stopwatch()
    await inspector.servers.resume(server.id)
    await until(lambda: steps.ran == 2)
    assert stopwatch() - woken < 1


async def one_processed(inspector):
    report = await inspector.queues.get("default")
    return (report.processed, report.waiting, report.active) == (1, 1, 0)


async def test_a_server_is_stopped_in_good_order(client, inspector, serve, until, stopwatch):
    steps = Steps()
    steps.hold = asyncio.Event()
    server = await serve({Step: steps.step}, queues=BOTH)
    await client.enqueue(Step())
    await until(lambda: steps.ran == 1)

    since = stopwatch()
    await inspector.servers.stop(server.id)

    await until(lambda: server.ready() == "draining")
    assert stopwatch() - since < 1
    steps.hold.set()
    await asyncio.wait_for(server.running, 60)
    assert await inspector.servers.list() == []
    assert (await inspector.queues.get("default")).processed == 1


async def test_a_server_that_does_not_exist_cannot_be_commanded(inspector, serve):
    await serve({Step: Steps().step})

    for tell in (inspector.servers.quiet, inspector.servers.resume, inspector.servers.stop):
        with pytest.raises(NotFoundError):
            await tell("nobody")
