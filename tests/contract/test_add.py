"""add.lua: what is accepted is in one place; what is refused leaves nothing behind."""

import asyncio

from duly.engine.storage.scripts import NewTask
from duly.engine.storage.store import Store

NOON = 1_767_614_400_000


def unique(task_id, *, ttl_ms=60_000, due_ms=0):
    return NewTask(id=task_id, data=b"{}", due_ms=due_ms, lock="digest", lock_ttl_ms=ttl_ms)


async def test_tasks_wait_in_the_order_they_were_added(lane):
    assert await lane.add("one", "two", "three") == [1, 1, 1]

    assert await lane.places() == dict.fromkeys(("one", "two", "three"), "waiting")
    assert len(await lane.claim()) == 3


async def test_a_task_due_later_is_scheduled_with_its_record(lane):
    later = NewTask(id="later", data=b"payload", due_ms=lane.now + 1)

    assert await lane.add(later) == [2]

    assert await lane.places() == {"later": "scheduled"}
    assert await lane.score("scheduled", "later") == lane.now + 1
    assert await lane.map("records") == {"later": b"payload"}


async def test_a_task_due_now_or_before_waits(lane):
    tasks = [NewTask(id=str(due), data=b"{}", due_ms=due) for due in (1, lane.now)]

    assert await lane.add(*tasks) == [1, 1]


async def test_an_id_is_refused_in_whatever_state_its_task_is(lane):
    entry = await lane.active("active")
    await lane.end(await lane.active("archived", "bob"), "archived")
    await lane.add("waiting", NewTask(id="scheduled", data=b"{}", due_ms=lane.now + 1))
    for task_id in ("active", "waiting", "scheduled", "archived"):
        assert await lane.add(task_id) == [-2]

    assert entry in await lane.pending()
    assert len(await lane.places()) == 4


async def test_an_id_may_be_used_again_once_its_task_is_gone(lane):
    await lane.finish((await lane.active(), "one"))

    assert await lane.add("one") == [1]


async def test_a_batch_is_refused_whole_for_a_double_within_it(lane):
    assert await lane.add("one", "two", "one") == [0, 0, -2]

    assert await lane.places() == {}
    assert await lane.stream() == {}


async def test_without_whole_the_others_of_a_batch_are_added(lane):
    assert await lane.add("one", "one", "two", whole=False) == [1, -2, 1]

    assert set(await lane.places()) == {"one", "two"}


async def test_a_full_queue_refuses_and_counts_active_tasks(lane):
    await lane.active("active")
    later = NewTask(id="later", data=b"{}", due_ms=lane.now + 1)

    assert await lane.add("two", "three", max_length=2) == [0, -3]
    assert await lane.add("two", "three", max_length=2, whole=False) == [1, -3]
    assert await lane.add(later, max_length=2) == [2]

    assert await lane.places() == {"active": "active", "two": "waiting", "later": "scheduled"}


async def test_a_unique_lock_refuses_with_the_id_that_holds_it(lane):
    assert await lane.add(unique("one")) == [1]

    assert await lane.add(unique("two")) == ["one"]
    assert await lane.places() == {"one": "waiting"}


async def test_a_unique_lock_holds_within_a_batch(lane):
    assert await lane.add(unique("one"), unique("two"), whole=False) == [1, "one"]
    assert await lane.add("three", unique("four")) == [0, "one"]

    assert set(await lane.places()) == {"one"}


async def test_a_unique_lock_ends_with_its_time(lane):
    await lane.add(unique("one", ttl_ms=1000))

    lane.now += 999
    assert await lane.add(unique("two")) == ["one"]
    lane.now += 1
    assert await lane.add(unique("two")) == [1]


async def test_a_task_that_lost_its_lock_to_time_does_not_free_the_next_ones(lane):
    await lane.add(unique("one", ttl_ms=1000))
    (first,) = await lane.claim()
    lane.now += 1000
    await lane.add(unique("two"))

    await lane.finish((first.stream_id, "one"), locks=["digest"])

    assert await lane.add(unique("three")) == ["two"]


async def test_an_id_conflict_takes_no_lock(lane):
    """asynq X4: there the lock leaks."""
    await lane.add("one")

    assert await lane.add(unique("one")) == [-2]

    assert await lane.map("locks") == {}
    assert await lane.add(unique("two")) == [1]


async def test_a_full_queue_takes_no_lock(lane):
    assert await lane.add("one", unique("two"), max_length=1, whole=False) == [1, -3]

    assert await lane.map("locks") == {}


async def test_an_id_is_enqueued_once_by_many_at_once(lane):
    async with asyncio.TaskGroup() as group:
        adding = [group.create_task(lane.add("one", "two")) for _ in range(20)]

    assert sorted(adding.result() for adding in adding).count([1, 1]) == 1
    assert len(await lane.stream()) == 2


async def test_ids_are_kept_as_they_are(lane):
    odd = ["a b", "ü☃", "{x}", "0", "1-0", "waiting", "é" * 128]

    assert await lane.add(*odd) == [1] * len(odd)

    assert set(await lane.places()) == set(odd)


async def test_store_adds_more_than_a_batch(lane):
    tasks = [NewTask(id=str(number), data=b"{}") for number in range(1201)]

    answers = await lane.store.add("lane", tasks, max_length=5000)

    assert answers == [1] * 1201
    assert len(await lane.places()) == 1201


async def test_every_queue_is_known_after_its_first_task(broker_settings):
    async with Store.open(broker_settings) as store:
        await store.add("first", [NewTask(id="one", data=b"{}")], max_length=1)

        assert await store.connection.command("SMEMBERS", "duly:queues") == [b"first"]
