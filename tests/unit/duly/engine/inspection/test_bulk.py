from datetime import UTC, datetime, timedelta

import pytest
from pydantic import Field

from duly.engine.enqueue.request import Request
from duly.engine.inspection.search import Query
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
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
        await inspector.tasks.archive("low", task.id)
    return tasks


async def test_search_finds_by_payload_kind_and_state(client, inspector, archived):
    deep = await client.enqueue(Bill(order_id=99, urgent=True, customer={"name": "Ann"}))

    by_field = await inspector.tasks.search(Query(fields={"order_id": "7"}))
    by_depth = await inspector.tasks.search(
        Query(fields={"customer.name": "Ann", "urgent": "true"})
    )
    by_state = await inspector.tasks.search(Query(states=(TaskState.WAITING,)))
    nothing = await inspector.tasks.search(Query(kind="other"))

    assert [task.id for task in by_field.tasks] == [archived[7].id]
    assert [task.id for task in by_depth.tasks] == [deep.id]
    assert [task.id for task in by_state.tasks] == [deep.id]
    assert (nothing.tasks, nothing.scanned, nothing.complete) == ((), 26, True)


async def test_search_says_when_it_has_not_seen_everything(inspector, archived):
    limited = await inspector.tasks.search(Query(kind="bill"), limit=3)
    windowed = await inspector.tasks.search(Query(kind="other"), window=10)

    assert (len(limited.tasks), limited.complete) == (3, False)
    assert (windowed.scanned, windowed.total, windowed.complete) == (10, 25, False)


async def test_search_by_time(inspector, archived):
    now = datetime.now(UTC)

    recent = await inspector.tasks.search(Query(since=now - timedelta(minutes=1)))
    older = await inspector.tasks.search(Query(until=now - timedelta(minutes=1)))

    assert len(recent.tasks) == 25
    assert older.tasks == ()


async def test_a_plan_changes_nothing_and_counts_what_is_not_eligible(client, inspector, archived):
    await client.enqueue(Bill(order_id=1))

    planned = await inspector.bulk.plan("run", Query(kind="bill"))

    assert (len(planned.tasks), planned.ineligible, planned.complete) == (25, 1, True)
    assert (await inspector.queues.get("low")).archived == 25


async def test_everything_planned_is_run_although_the_list_shrinks_meanwhile(inspector, archived):
    reports = []
    planned = await inspector.bulk.plan("run", Query(states=(TaskState.ARCHIVED,)))
    await inspector.tasks.delete("low", archived[0].id)

    progress = await inspector.bulk.execute(planned, report=lambda p: reports.append(p.done))

    assert (progress.total, progress.done, progress.gone) == (25, 24, 1)
    assert reports[-1] == 24
    report = await inspector.queues.get("low")
    assert (report.waiting, report.archived) == (24, 0)


async def test_what_has_been_run_since_it_was_planned_is_neither_deleted_nor_archived(
    inspector, archived
):
    deletion = await inspector.bulk.plan("delete", Query(states=(TaskState.ARCHIVED,)))
    for task in archived[:3]:
        await inspector.tasks.run("low", task.id)
    archiving = await inspector.bulk.plan("archive", Query())
    await inspector.tasks.archive("low", archived[0].id)

    deleted = await inspector.bulk.execute(deletion)
    put_away = await inspector.bulk.execute(archiving)

    assert (deleted.done, deleted.gone, deleted.failed) == (22, 3, 0)
    assert (put_away.done, put_away.gone) == (2, 1)
    assert (await inspector.queues.get("low")).archived == 3


async def test_what_has_ended_anew_since_it_was_planned_is_left_alone(inspector, archived):
    planned = await inspector.bulk.plan("delete", Query(states=(TaskState.ARCHIVED,)))
    await inspector.tasks.run("low", archived[0].id)
    await inspector.tasks.archive("low", archived[0].id)

    progress = await inspector.bulk.execute(planned)

    assert (progress.done, progress.gone) == (24, 1)
    assert (await inspector.tasks.get("low", archived[0].id)).state is TaskState.ARCHIVED


async def test_a_cap_holds(inspector, archived):
    planned = await inspector.bulk.plan("delete", Query(), cap=10)

    progress = await inspector.bulk.execute(planned)

    assert (progress.done, planned.complete) == (10, False)
    assert (await inspector.queues.get("low")).archived == 15


async def test_a_cap_counts_only_what_allows_the_operation(client, inspector, archived):
    waiting = await client.enqueue(Bill(order_id=100))

    planned = await inspector.bulk.plan("archive", Query(kind="bill"), cap=1)
    windowed = await inspector.bulk.plan("archive", Query(kind="bill"), window=10)

    assert [task.id for task in planned.tasks] == [waiting.id]
    assert (planned.ineligible, planned.complete) == (25, True)
    assert ([task.id for task in windowed.tasks], windowed.ineligible) == ([waiting.id], 9)
    assert (windowed.scanned, windowed.total, windowed.complete) == (10, 26, True)


async def test_a_plan_leaves_out_what_came_later(client, inspector, archived):
    ended = [(await inspector.tasks.get("low", task.id)).ended_at for task in archived]
    later = Query(as_of=min(ended) - timedelta(milliseconds=1))
    await client.enqueue(Bill(order_id=100), delay=timedelta(hours=1))

    planned = await inspector.bulk.plan("delete", Query(as_of=max(ended)))
    none = await inspector.bulk.plan("delete", later)

    assert (len(planned.tasks), [task.state for task in none.tasks]) == (26, ["scheduled"])


async def test_an_id_is_looked_for_in_each_queue_and_must_match_all_else(client, inspector):
    await client.enqueue(Bill(order_id=1), task_id="same")
    await client.enqueue(Bill(order_id=2), task_id="same", queue="high")
    await inspector.tasks.archive("low", "same")

    async def found(**more):
        query = Query(id="same", **more)
        tasks = (await inspector.tasks.search(query)).tasks
        assert {(task.queue, task.id) for task in tasks} == {
            (task.queue, task.id) for task in (await inspector.bulk.plan("delete", query)).tasks
        }
        return sorted(task.queue for task in tasks)

    assert await found() == ["high", "low"]
    assert await found(queues=("low",)) == ["low"]
    assert await found(states=(TaskState.WAITING,)) == ["high"]
    assert await found(fields={"order_id": "2"}) == ["high"]
    assert await found(kind="other") == []
    assert (await inspector.tasks.search(Query(id="none"))).tasks == ()


async def test_scheduled_tasks_are_run_and_archived(client, inspector):
    requests = [Request(job=Bill(order_id=n), delay=timedelta(hours=1)) for n in range(4)]
    await client.enqueue_many(requests)

    planned = await inspector.bulk.plan("archive", Query(fields={"order_id": "0"}))
    await inspector.bulk.execute(planned)
    planned = await inspector.bulk.plan("run", Query(states=(TaskState.SCHEDULED,)))
    await inspector.bulk.execute(planned)

    report = await inspector.queues.get("low")
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

    planned = await inspector.bulk.plan("delete", Query())
    progress = await inspector.bulk.execute(planned)

    assert (planned.scanned, planned.total, progress.done) == (29, 29, 29)
    assert (await inspector.queues.get("low")).held == 0


async def test_several_chunks_are_reported_one_by_one(client, inspector):
    await client.enqueue_many([Bill(order_id=number) for number in range(250)])
    reports = []

    planned = await inspector.bulk.plan("archive", Query())
    progress = await inspector.bulk.execute(planned, report=lambda p: reports.append(p.done))

    assert reports == [100, 200, 250]
    assert (progress.done, (await inspector.queues.get("low")).archived) == (250, 250)


async def test_a_broker_that_goes_away_is_raised_as_itself(client, inspector, archived):
    planned = await inspector.bulk.plan("run", Query())

    async def away(queue, task_id, *, seen):
        raise BrokerDownError("redis.example:6379", "refused")

    inspector.tasks.run = away
    with pytest.raises(BrokerDownError):
        await inspector.bulk.execute(planned)


async def test_named_tasks_are_planned_those_that_are_gone_or_in_another_state_are_not(
    client, inspector, archived
):
    waiting = await client.enqueue(Bill(order_id=1))
    named = [("low", task.id) for task in archived[:2]] + [("low", waiting.id), ("low", "gone")]
    anywhere = [("", archived[2].id), ("", "gone too")]

    planned = await inspector.bulk.plan_selected("run", named + anywhere)

    assert {task.id for task in planned.tasks} == {task.id for task in archived[:3]}
    assert (planned.ineligible, planned.total) == (3, 6)


async def test_search_by_text_looks_at_id_kind_and_error(inspector, archived):
    by_id = await inspector.tasks.search(Query(text=archived[3].id[:20].upper()))
    by_kind = await inspector.tasks.search(Query(text="BIL"))

    assert archived[3].id in {task.id for task in by_id.tasks}
    assert len(by_kind.tasks) == 25
    assert (await inspector.tasks.search(Query(text="nowhere"))).tasks == ()


async def test_search_by_cause_finds_one_group_of_failures(inspector, archived):
    (group,) = (await inspector.failures.survey()).groups

    found = await inspector.tasks.search(Query(cause=group.fingerprint))

    assert (len(found.tasks), group.count, group.hours[-1]) == (25, 25, 25)
    assert (await inspector.tasks.search(Query(cause="0" * 16))).tasks == ()
