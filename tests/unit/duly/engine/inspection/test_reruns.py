"""Tasks run once more, on a real Valkey: by whoever, however often they ask."""

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest

from duly.described_job import described_job
from duly.errors import (
    DuplicateTaskError,
    IllegalTransitionError,
    InvalidPayloadError,
    MalformedTaskError,
    NotFoundError,
    PayloadTooLargeError,
)
from duly.job import Job, Policy
from duly.task import TaskState
from duly.testing.waiting import until


class Bill(Job, kind="bill", policy=Policy(max_attempts=1)):
    order_id: int = 0
    note: str = ""


CATALOGUE = {"bill": Bill}
HOUR = timedelta(hours=1)


@pytest.fixture
async def low(client):
    """A second queue."""
    await client.enqueue(Bill(note="the first"), queue="low", task_id="first")
    return "low"


@pytest.fixture
def archived(client, inspector):
    async def archive(**options):
        task = await client.enqueue(Bill(order_id=7, note="old"), delay=HOUR, **options)
        await inspector.tasks.archive("default", task.id)
        return task

    return archive


async def queue(inspector, name="default"):
    report = await inspector.queues.get(name)
    return report.waiting, report.scheduled, report.archived


async def test_a_rerun_has_the_changed_payload_and_both_are_linked(inspector, archived):
    old = await archived(headers={"tenant": "a"})

    new = await inspector.tasks.rerun(
        "default", old.id, changes={"note": "new"}, catalogue=CATALOGUE
    )

    kept, found = await inspector.tasks.find(old.id), await inspector.tasks.find(new.id)
    assert (kept.state, kept.labels["replaced_by"]) == (TaskState.ARCHIVED, new.id)
    assert (found.state, found.payload) == (TaskState.WAITING, {"order_id": 7, "note": "new"})
    assert found.labels == {"headers": {"tenant": "a"}, "origin": old.id}


async def test_the_same_rerun_is_done_once_however_often_it_is_asked_for(
    client, inspector, serving, archived
):
    old = await archived()
    first = await asyncio.gather(*(inspector.tasks.rerun("default", old.id) for _ in range(5)))
    ran = []
    async with serving({Bill: lambda job, _: ran.append(job.note)}):
        await until(lambda: ran)
    again = await inspector.tasks.rerun("default", old.id)

    assert {task.id for task in (*first, again)} == {first[0].id}
    assert ran == ["old"]
    assert await queue(inspector) == (0, 0, 1)


async def test_another_payload_is_another_task(inspector, archived):
    old = await archived()

    ids = {(await inspector.tasks.rerun("default", old.id, changes={"note": n})).id for n in "ab"}

    assert len(ids) == 2


async def test_a_rerun_that_does_not_fit_its_job_is_refused(client, inspector, archived):
    for old in (await archived(), await client.enqueue(Bill(), delay=HOUR)):
        before = await inspector.tasks.find(old.id)
        with pytest.raises(MalformedTaskError, match="does not fit Bill: order_id: int_parsing"):
            await inspector.tasks.rerun(
                "default", old.id, changes={"order_id": "x"}, catalogue=CATALOGUE
            )
        assert await inspector.tasks.find(old.id) == before


async def test_a_rerun_that_is_too_large_is_refused(inspector, archived):
    old = await archived()

    with pytest.raises(PayloadTooLargeError):
        await inspector.tasks.rerun("default", old.id, changes={"note": "x" * 300_000})


async def test_a_waiting_task_is_not_run_again(client, inspector):
    task = await client.enqueue(Bill())

    with pytest.raises(IllegalTransitionError, match=r"cannot rerun task .*under way"):
        await inspector.tasks.rerun("default", task.id)
    with pytest.raises(NotFoundError):
        await inspector.tasks.rerun("default", "nobody")


async def test_an_archived_task_runs_in_another_queue(inspector, archived, low):
    old = await archived()

    new = await inspector.tasks.rerun("default", old.id, to_queue=low)
    again = await inspector.tasks.rerun("default", old.id, to_queue=low)

    assert (new.id, new.queue) == (again.id, low)
    assert (await inspector.tasks.find(new.id)).labels["origin"] == old.id
    assert (await inspector.tasks.find(old.id)).labels["replaced_by"] == new.id
    assert await queue(inspector, low) == (2, 0, 0)


async def test_a_scheduled_task_runs_in_another_queue_only(client, inspector, low):
    task = await client.enqueue(Bill(), delay=HOUR, unique_for=HOUR)

    new = await inspector.tasks.rerun("default", task.id, to_queue=low)

    assert await queue(inspector) == (0, 0, 1)
    assert await queue(inspector, low) == (2, 0, 0)
    assert new.labels["lock"], "it is unique where it is now"
    assert (await inspector.locks.list("default")).locks == ()


async def test_a_call_that_died_half_way_is_finished_by_the_next(inspector, archived, low):
    """It had added the new task; the old one was not marked, and the new one has ended since."""
    old = await archived()
    unmarked = await inspector._store.connection.command("HGET", "duly:{default}:records", old.id)
    new = await inspector.tasks.rerun("default", old.id, to_queue=low)
    await inspector._store.connection.command("HSET", "duly:{default}:records", old.id, unmarked)

    again = await inspector.tasks.rerun("default", old.id, to_queue=low)

    assert again.id == new.id
    assert await queue(inspector, low) == (2, 0, 0)
    assert (await inspector.tasks.find(old.id)).labels["replaced_by"] == new.id


async def test_a_success_in_another_queue_is_remembered_for_a_repeated_call(
    inspector, serving, archived, low
):
    old = await archived()
    await inspector.tasks.rerun("default", old.id, to_queue=low)
    ran = []

    async with serving({Bill: lambda job, _: ran.append(job.note)}, queues={low: 1}):
        await until(lambda: len(ran) == 2)

    assert sorted(ran) == ["old", "the first"]
    assert (await inspector.queues.get(low)).completed == 1


async def test_a_scheduled_payload_is_edited_where_it_is(client, inspector):
    task = await client.enqueue(Bill(order_id=7), delay=HOUR)

    edited = await inspector.tasks.edit("default", task.id, {"note": "new"}, catalogue=CATALOGUE)

    found = await inspector.tasks.find(task.id)
    assert edited.payload == found.payload == {"order_id": 7, "note": "new"}
    assert (found.state, found.due_at) == (TaskState.SCHEDULED, task.due_at)


@pytest.mark.parametrize("catalogue", [None, CATALOGUE, {"bill": described_job("bill", None, {})}])
async def test_a_number_that_json_cannot_carry_is_refused_by_name(client, inspector, catalogue):
    task = await client.enqueue(Bill(order_id=7), delay=HOUR)
    changes, refused = {"note": {"price": math.inf}}, r"'note\.price' is not a finite number"

    with pytest.raises(InvalidPayloadError, match=refused):
        await inspector.tasks.edit("default", task.id, changes, catalogue=catalogue)
    await inspector.tasks.archive("default", task.id)
    with pytest.raises(InvalidPayloadError, match=refused):
        await inspector.tasks.rerun("default", task.id, changes=changes, catalogue=catalogue)

    assert (await inspector.tasks.find(task.id)).payload == {"order_id": 7, "note": ""}


async def test_an_edit_takes_the_unique_lock_along(client, inspector):
    task = await client.enqueue(Bill(order_id=7), delay=HOUR, unique_for=HOUR)

    await inspector.tasks.edit("default", task.id, {"order_id": 8})

    with pytest.raises(DuplicateTaskError):
        await client.enqueue(Bill(order_id=8), unique_for=HOUR)
    other = await client.enqueue(Bill(order_id=7), delay=HOUR, unique_for=HOUR)
    with pytest.raises(DuplicateTaskError, match=task.id):
        await inspector.tasks.edit("default", other.id, {"order_id": 8})
    await inspector.tasks.delete("default", task.id)
    await client.enqueue(Bill(order_id=8), unique_for=HOUR)


async def test_what_has_ended_is_not_edited(inspector, archived):
    old = await archived()

    with pytest.raises(IllegalTransitionError, match=r"cannot edit task .*archived"):
        await inspector.tasks.edit("default", old.id, {"note": "new"})


async def test_run_takes_a_deadline_that_has_passed_from_a_task(client, inspector, serving):
    ran = []
    deadline = datetime.now(UTC) + timedelta(seconds=2)  # so that it is surely taken
    task = await client.enqueue(Bill(), deadline=deadline)

    async def archived():
        return (await inspector.tasks.find(task.id)).state is TaskState.ARCHIVED

    await until(lambda: datetime.now(UTC) > deadline)
    async with serving({Bill: lambda *_: ran.append(1)}):
        await until(archived)
        await inspector.tasks.run("default", task.id)
        await until(lambda: ran)


@pytest.mark.parametrize("operation", ["run", "rerun", "rerun elsewhere"])
async def test_a_unique_task_begins_anew_only_while_no_other_holds_its_lock(
    archived, client, inspector, low, operation
):
    old = await archived(unique_for=HOUR)
    target = low if operation == "rerun elsewhere" else "default"
    other = await client.enqueue(
        Bill(order_id=7, note="old"), unique_for=HOUR, queue=target, task_id="other"
    )

    async def again():
        if operation == "run":
            await inspector.tasks.run("default", old.id)
        else:
            await inspector.tasks.rerun("default", old.id, to_queue=target)

    with pytest.raises(DuplicateTaskError, match=other.id):
        await again()
    await inspector.tasks.delete(target, other.id)
    await again()
    with pytest.raises(DuplicateTaskError):
        await client.enqueue(Bill(order_id=7, note="old"), unique_for=HOUR, queue=target)
