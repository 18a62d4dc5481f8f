"""Groups as an operator sees them, and what is done to a whole one."""

import pytest

from duly.engine.enqueue.request import Request
from duly.engine.storage import scripts
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.errors import NotFoundError
from duly.job import Job
from duly.task import TaskState


class Note(Job, kind="note"):
    number: int = 0


KEYS = queue_keys("default")


@pytest.fixture
def grouped(client):
    """Enqueue so many tasks to a group, `<group>-0` and so on."""

    async def enqueue(group, count):
        await client.enqueue_many(
            [Request(job=Note(number=n), group=group, task_id=f"{group}-{n:04}")
             for n in range(count)]
        )  # fmt: skip

    return enqueue


async def state(inspector, task_id):
    return (await inspector.tasks.get("default", task_id)).state


async def test_one_group_is_reported_as_in_the_list(grouped, inspector):
    await grouped("ada", 3)
    await grouped("ada:1", 1)

    found = await inspector.groups.get("default", "note", "ada")

    assert found in await inspector.groups.list("default")
    assert (found.size, found.tries) == (3, 0)
    with pytest.raises(NotFoundError, match="no group 'note:bob' in queue default"):
        await inspector.groups.get("default", "note", "bob")


async def test_more_groups_than_one_round_trip_takes_are_listed(client, inspector):
    await client.enqueue_many([Request(job=Note(), group=f"g{n}") for n in range(230)])

    groups = await inspector.groups.list("default")

    assert {group.name for group in groups} == {f"g{n}" for n in range(230)}
    assert {group.size for group in groups} == {1}


@pytest.mark.parametrize("newest", [True, False])
async def test_pages_of_a_group_follow_each_other(grouped, inspector, newest):
    await grouped("ada", 7)
    await grouped("ada:1", 1)
    found, cursor = [], None

    while True:
        page = await inspector.groups.tasks(
            "default", "note", "ada", limit=3, cursor=cursor, newest=newest
        )
        found += page.tasks
        cursor = page.next_cursor
        if cursor is None:
            break

    ids = [f"ada-{n:04}" for n in range(7)]
    assert [task.id for task in found] == (ids[::-1] if newest else ids)
    assert {(task.state, task.kind) for task in found} == {(TaskState.AGGREGATING, "note")}
    assert all(task.enqueued_at for task in found)


@pytest.mark.parametrize("cursor", ["x", "123:a", "12345678901x3:a", "1234567890123"])
async def test_what_is_no_cursor_is_refused(grouped, inspector, cursor):
    await grouped("ada", 1)

    with pytest.raises(ValueError, match="not a cursor"):
        await inspector.groups.tasks("default", "note", "ada", cursor=cursor)
    with pytest.raises(ValueError, match="limit"):
        await inspector.groups.tasks("default", "note", "ada", limit=0)


async def test_a_members_name_by_a_stranger_breaks_no_list(grouped, inspector, broker_settings):
    await grouped("ada", 1)
    async with Store.open(broker_settings) as store:
        names = (b"note:ada\n\xffx", b"note:ada\n", b"note:ada\n00000000000zz\nq")
        for name in names:
            await store.connection.command("ZADD", KEYS.members, 0, name)

    assert (await inspector.groups.get("default", "note", "ada")).oldest is None
    page = await inspector.groups.tasks("default", "note", "ada")
    assert "ada-0000" in [task.id for task in page.tasks]


@pytest.mark.parametrize(
    ("operation", "becomes"),
    [("run", TaskState.WAITING), ("archive", TaskState.ARCHIVED), ("delete", None)],
)
async def test_a_whole_group_is_operated_on_and_no_other(grouped, inspector, operation, becomes):
    await grouped("ada", 620)
    await grouped("bob", 1)
    reports = []

    planned = await inspector.bulk.plan_group(
        operation, await inspector.groups.get("default", "note", "ada")
    )
    done = await inspector.bulk.execute(
        planned, report=lambda progress: reports.append(progress.done)
    )

    assert (len(planned.tasks), planned.complete) == (620, True)
    assert (done.done, done.gone, done.failed) == (620, 0, 0)
    assert reports == [100, 200, 300, 400, 500, 600, 620]
    if becomes:
        assert {await state(inspector, f"ada-{n:04}") for n in (0, 619)} == {becomes}
    assert [group.name for group in await inspector.groups.list("default")] == ["bob"]
    assert await state(inspector, "bob-0000") is TaskState.AGGREGATING
    assert (await inspector.queues.get("default")).aggregating == 1


async def test_a_cap_leaves_the_newest_and_says_so(grouped, inspector):
    await grouped("ada", 5)

    group = await inspector.groups.get("default", "note", "ada")
    planned = await inspector.bulk.plan_group("archive", group, cap=3)
    await inspector.bulk.execute(planned)

    assert (planned.complete, planned.total) == (False, 5)
    assert await inspector.groups.members("default", "note", "ada") == ["ada-0003", "ada-0004"]


async def test_members_that_a_server_merges_first_are_gone(grouped, inspector, broker_settings):
    await grouped("ada", 3)
    group = await inspector.groups.get("default", "note", "ada")
    planned = await inspector.bulk.plan_group("archive", group)
    merged = scripts.NewTask(id="merged", data=b"{}")
    async with Store.open(broker_settings) as store:
        await store.connection.command("ZADD", KEYS.groups, 0, "note:ada")
        await store.run(scripts.group_claim(KEYS, ["note"], token="t", hold_ms=60_000))
        members = [(task.id, "") for task in planned.tasks]
        merge = scripts.group_complete(
            KEYS, "note:ada", "merge", token="t", in_ms=0, now_ms=1, members=members, merged=merged
        )  # fmt: skip
        assert await store.run(merge) == b"ok"

    done = await inspector.bulk.execute(planned)

    assert (done.done, done.gone) == (0, 3)
    assert (await inspector.queues.get("default")).waiting == 1


async def test_a_server_does_not_merge_what_was_run_under_its_claim(
    grouped, inspector, broker_settings
):
    await grouped("ada", 2)
    async with Store.open(broker_settings) as store:
        await store.connection.command("ZADD", KEYS.groups, 0, "note:ada")
        (_, (_, _, *found)) = await store.run(
            scripts.group_claim(KEYS, ["note"], token="t", hold_ms=60_000)
        )
        group = await inspector.groups.get("default", "note", "ada")
        await inspector.bulk.execute(await inspector.bulk.plan_group("run", group))
        merge = scripts.group_complete(
            KEYS, "note:ada", "merge", token="t", in_ms=0, now_ms=1,
            members=[(task_id.decode(), "") for task_id in found[::2]],
            merged=scripts.NewTask(id="merged", data=b"{}"),
        )  # fmt: skip
        assert await store.run(merge) == b"lost"

    assert (await inspector.queues.get("default")).waiting == 2
    assert await inspector.groups.list("default") == []
