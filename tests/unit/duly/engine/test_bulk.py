from datetime import UTC, datetime, timedelta

import pytest
from pydantic import Field

from duly.engine import bulk
from duly.engine.keys import queue_keys
from duly.engine.requests import Request
from duly.engine.search import Query, search
from duly.engine.store import Store
from duly.errors import BrokerDownError
from duly.job import Job, Policy
from duly.task import TaskState


class Bill(Job, kind="bill", policy=Policy(queue="low")):
    order_id: int
    urgent: bool = False
    customer: dict[str, str] = Field(default_factory=dict)


@pytest.fixture
async def archived(client, inspector):
    tasks = await client.enqueue_many([Bill(order_id=number) for number in range(25)])
    for task in tasks:
        await inspector.archive("low", task.id)
    return tasks


async def test_search_finds_by_payload_kind_and_state(client, inspector, archived):
    deep = await client.enqueue(Bill(order_id=99, urgent=True, customer={"name": "Ann"}))

    by_field = await search(inspector, Query(fields={"order_id": "7"}))
    by_depth = await search(inspector, Query(fields={"customer.name": "Ann", "urgent": "true"}))
    by_state = await search(inspector, Query(states=(TaskState.WAITING,)))
    nothing = await search(inspector, Query(kind="other"))

    assert [task.id for task in by_field.tasks] == [archived[7].id]
    assert [task.id for task in by_depth.tasks] == [deep.id]
    assert [task.id for task in by_state.tasks] == [deep.id]
    assert (nothing.tasks, nothing.scanned, nothing.complete) == ((), 26, True)


async def test_search_says_when_it_has_not_seen_everything(inspector, archived):
    limited = await search(inspector, Query(kind="bill"), limit=3)
    windowed = await search(inspector, Query(kind="other"), window=10)

    assert (len(limited.tasks), limited.complete) == (3, False)
    assert (windowed.scanned, windowed.total, windowed.complete) == (10, 25, False)


async def test_search_by_time(inspector, archived):
    now = datetime.now(UTC)

    recent = await search(inspector, Query(since=now - timedelta(minutes=1)))
    older = await search(inspector, Query(until=now - timedelta(minutes=1)))

    assert len(recent.tasks) == 25
    assert older.tasks == ()


async def test_a_plan_changes_nothing_and_counts_what_is_not_eligible(client, inspector, archived):
    await client.enqueue(Bill(order_id=1))

    planned = await bulk.plan(inspector, "run", Query(kind="bill"))

    assert (len(planned.tasks), planned.ineligible, planned.complete) == (25, 1, True)
    assert (await inspector.queue("low")).archived == 25


async def test_everything_planned_is_run_although_the_list_shrinks_meanwhile(inspector, archived):
    reports = []
    planned = await bulk.plan(inspector, "run", Query(states=(TaskState.ARCHIVED,)))
    await inspector.delete("low", archived[0].id)

    progress = await bulk.carry_out(inspector, planned, report=lambda p: reports.append(p.done))

    assert (progress.total, progress.done, progress.gone) == (25, 24, 1)
    assert reports[-1] == 24
    report = await inspector.queue("low")
    assert (report.waiting, report.archived) == (24, 0)


async def test_a_cap_holds(inspector, archived):
    planned = await bulk.plan(inspector, "delete", Query(), cap=10)

    progress = await bulk.carry_out(inspector, planned)

    assert (progress.done, planned.complete) == (10, False)
    assert (await inspector.queue("low")).archived == 15


async def test_scheduled_tasks_are_run_and_archived(client, inspector):
    requests = [Request(job=Bill(order_id=n), delay=timedelta(hours=1)) for n in range(4)]
    await client.enqueue_many(requests)

    planned = await bulk.plan(inspector, "archive", Query(fields={"order_id": "0"}))
    await bulk.carry_out(inspector, planned)
    planned = await bulk.plan(inspector, "run", Query(states=(TaskState.SCHEDULED,)))
    await bulk.carry_out(inspector, planned)

    report = await inspector.queue("low")
    assert (report.scheduled, report.archived, report.waiting) == (0, 1, 3)


async def test_every_state_can_be_searched_and_deleted(
    client, inspector, archived, broker_settings
):
    await client.enqueue(Bill(order_id=100))
    await client.enqueue(Bill(order_id=101), delay=timedelta(hours=1))
    async with Store.open(broker_settings) as store:
        keys = queue_keys("low")
        for state in ("completed", "quarantined"):
            connection = store.connection
            await connection.command("ZADD", getattr(keys, state), 1, state)
            await connection.command("HSET", keys.index, state, state)

    planned = await bulk.plan(inspector, "delete", Query())
    progress = await bulk.carry_out(inspector, planned)

    assert (planned.scanned, planned.total, progress.done) == (29, 29, 29)
    assert (await inspector.queue("low")).held == 0


async def test_several_chunks_are_reported_one_by_one(client, inspector):
    await client.enqueue_many([Bill(order_id=number) for number in range(250)])
    reports = []

    planned = await bulk.plan(inspector, "archive", Query())
    progress = await bulk.carry_out(inspector, planned, report=lambda p: reports.append(p.done))

    assert reports == [100, 200, 250]
    assert (progress.done, (await inspector.queue("low")).archived) == (250, 250)


async def test_a_broker_that_goes_away_is_raised_as_itself(client, inspector, archived):
    planned = await bulk.plan(inspector, "run", Query())

    async def away(queue, task_id):
        raise BrokerDownError("redis.example:6379", "refused")

    inspector.run = away
    with pytest.raises(BrokerDownError):
        await bulk.carry_out(inspector, planned)
