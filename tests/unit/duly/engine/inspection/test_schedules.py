import re
from datetime import timedelta

import pytest

from duly.engine.enqueue.ticks import Ticks
from duly.engine.storage.reports import TickOutcome
from duly.errors import DuplicateTaskError, NotFoundError
from duly.job import Job, Policy
from duly.schedule import Entry, Overlap
from duly.task import TaskState


class Sweep(Job, kind="sweep"):
    region: str = "all"


class Once(Job, kind="once", policy=Policy(unique_for=timedelta(hours=1))):
    pass


ENTRY = Entry(
    id="sweep-north",
    job=Sweep(region="north"),
    interval=timedelta(hours=1),
    overlap=Overlap.ALLOW,
)


@pytest.fixture
async def ticks(broker_settings):
    async with Ticks.connect(broker_settings) as ticks:
        await ticks.announce((ENTRY,))
        yield ticks


@pytest.fixture
def inspector(ticks, inspector):
    """An inspector that finds the timetable announced."""
    return inspector


async def test_a_paused_entry_lets_its_ticks_pass(ticks, inspector):
    await inspector.schedules.pause(ENTRY.id)
    (report,) = (await ticks.tick(ENTRY)).reports

    assert report.outcome is TickOutcome.PAUSED
    (entry,) = await inspector.schedules.list()
    assert entry.paused_since is not None
    assert (entry.paused, entry.enqueued) == (1, 0)
    assert (await inspector.queues.get("default")).waiting == 0


async def test_pausing_twice_keeps_the_first_instant_and_resuming_is_idempotent(inspector):
    await inspector.schedules.pause(ENTRY.id)
    (before,) = await inspector.schedules.list()
    await inspector.schedules.pause(ENTRY.id)
    (after,) = await inspector.schedules.list()
    await inspector.schedules.resume(ENTRY.id)
    await inspector.schedules.resume(ENTRY.id)

    assert before.paused_since == after.paused_since
    assert (await inspector.schedules.list())[0].paused_since is None


async def test_a_trigger_enqueues_the_entrys_own_job_beside_its_ticks(ticks, inspector):
    first = await inspector.schedules.trigger(ENTRY.id)
    second = await inspector.schedules.trigger(ENTRY.id)
    (report,) = (await ticks.tick(ENTRY)).reports

    assert report.outcome is TickOutcome.ENQUEUED
    assert first != second
    page = await inspector.tasks.list("default", TaskState.WAITING, newest=False)
    assert [task.id for task in page.tasks] == [first, second, report.task_id]
    assert {task.payload["region"] for task in page.tasks} == {"north"}


@pytest.mark.parametrize("operation", ["pause", "resume", "trigger", "ticks"])
async def test_an_unknown_entry_is_named(inspector, operation):
    with pytest.raises(NotFoundError, match="schedule entry 'nope'"):
        await getattr(inspector.schedules, operation)("nope")


async def test_a_unique_job_is_triggered_once(ticks, inspector, client):
    once = Entry(id="once", job=Once(), interval=timedelta(hours=1), overlap=Overlap.ALLOW)
    await ticks.announce((once,))
    first = await inspector.schedules.trigger("once")

    with pytest.raises(DuplicateTaskError, match=re.escape(first)):
        await inspector.schedules.trigger("once")
    with pytest.raises(DuplicateTaskError, match=re.escape(first)):
        await client.enqueue(Once())
    assert (await inspector.queues.get("default")).waiting == 1
