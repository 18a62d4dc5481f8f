from datetime import timedelta

import pytest

from duly.engine.reports import TickOutcome
from duly.engine.ticks import Ticks
from duly.errors import NotFoundError
from duly.job import Job
from duly.schedule import Entry, Overlap
from duly.task import TaskState


class Sweep(Job, kind="sweep"):
    region: str = "all"


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
    await inspector.pause_schedule(ENTRY.id)
    (report,) = (await ticks.tick(ENTRY)).reports

    assert report.outcome is TickOutcome.PAUSED
    (entry,) = await inspector.schedules()
    assert entry.paused_since is not None
    assert (entry.paused, entry.enqueued) == (1, 0)
    assert (await inspector.queue("default")).waiting == 0


async def test_pausing_twice_keeps_the_first_instant_and_resuming_is_idempotent(inspector):
    await inspector.pause_schedule(ENTRY.id)
    (before,) = await inspector.schedules()
    await inspector.pause_schedule(ENTRY.id)
    (after,) = await inspector.schedules()
    await inspector.resume_schedule(ENTRY.id)
    await inspector.resume_schedule(ENTRY.id)

    assert before.paused_since == after.paused_since
    assert (await inspector.schedules())[0].paused_since is None


async def test_a_trigger_enqueues_the_entrys_own_job_beside_its_ticks(ticks, inspector):
    first = await inspector.trigger(ENTRY.id)
    second = await inspector.trigger(ENTRY.id)
    (report,) = (await ticks.tick(ENTRY)).reports

    assert report.outcome is TickOutcome.ENQUEUED
    assert first != second
    page = await inspector.tasks("default", TaskState.WAITING, newest=False)
    assert [task.id for task in page.tasks] == [first, second, report.task_id]
    assert {task.payload["region"] for task in page.tasks} == {"north"}


@pytest.mark.parametrize("operation", ["pause_schedule", "resume_schedule", "trigger", "ticks"])
async def test_an_unknown_entry_is_named(inspector, operation):
    with pytest.raises(NotFoundError, match="schedule entry 'nope'"):
        await getattr(inspector, operation)("nope")
