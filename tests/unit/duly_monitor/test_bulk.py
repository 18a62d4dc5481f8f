"""Bulk operations in the background, over the fake inspector."""

import pytest

from duly.engine.inspection.search import Query
from duly.engine.storage.reports import BulkRunState
from duly.errors import BrokerDownError
from duly.task import TaskState
from duly_monitor.bulk import MOST_AT_ONCE, BulkOrder, BulkRunner, TooManyBulkRunsError


async def ordered(inspector, **more):
    plan = await inspector.bulk.plan("delete", Query(states=(TaskState.WAITING,)))
    return BulkOrder(plan=plan, selection="state:waiting", by="ann", **more)


def ended(inspector, run_id):
    return lambda: inspector.runs[run_id].state is not BulkRunState.RUNNING


async def test_it_is_done_and_recorded(inspector, until):
    runner = BulkRunner(inspector)
    async with runner.running():
        run_id = await runner.order(await ordered(inspector))
        await until(ended(inspector, run_id))

    report = inspector.runs[run_id]
    assert (report.state, report.total, report.done, report.by) == ("done", 40, 40, "ann")
    assert not any(task.state is TaskState.WAITING for task in inspector.held)


async def test_what_was_read_meanwhile_is_forgotten_before_its_end_is_seen(inspector, until):
    """Who sees that it has ended reads on the next page what it did, not what was before."""
    running = []
    runner = BulkRunner(
        inspector, lambda: running.append(inspector.runs[run_id].state is BulkRunState.RUNNING)
    )
    async with runner.running():
        run_id = await runner.order(await ordered(inspector))
        await until(ended(inspector, run_id))

    assert running == [True]


async def test_it_is_stopped_between_chunks(inspector, until):
    runner = BulkRunner(inspector)
    run_id = await runner.order(await ordered(inspector, per_second=1))
    inspector.stops.add(run_id)
    async with runner.running():
        await until(ended(inspector, run_id))

    report = inspector.runs[run_id]
    assert (report.state, report.done) == ("stopped", 0)


async def test_what_is_under_way_when_the_process_ends_is_recorded_as_failed(inspector, until):
    runner = BulkRunner(inspector)
    async with runner.running():
        run_id = await runner.order(await ordered(inspector, per_second=1))
        await until(lambda: inspector.runs[run_id].done == 1)

    report = inspector.runs[run_id]
    assert report.state is BulkRunState.FAILED
    assert "the monitor was stopped" in report.error


async def test_one_that_fails_says_why_and_ends_no_other(inspector, until):
    async def down(*_, seen):
        raise BrokerDownError("127.0.0.1:6379", "connection refused")

    order, good = await ordered(inspector), await ordered(inspector)
    delete, inspector.tasks.delete = inspector.tasks.delete, down
    runner = BulkRunner(inspector)
    async with runner.running():
        run_id = await runner.order(order)
        await until(ended(inspector, run_id))
        inspector.tasks.delete = delete
        second = await runner.order(good)
        await until(ended(inspector, second))

    assert inspector.runs[run_id].state is BulkRunState.FAILED
    assert "connection refused" in inspector.runs[run_id].error
    assert inspector.runs[second].state is BulkRunState.DONE


async def test_no_more_than_a_few_run_at_once(inspector):
    runner, order = BulkRunner(inspector), await ordered(inspector)
    for _ in range(MOST_AT_ONCE):
        await runner.order(order)

    with pytest.raises(TooManyBulkRunsError, match="wait until one has ended"):
        await runner.order(order)
