"""remove_queue.lua: a queue goes whole, unless it is in use, and what comes after it is listed."""

import pytest

from duly.engine.storage import scripts
from duly.engine.storage.keys import QUEUES
from duly.engine.storage.scripts import Due, NewTask, Successor

DATA = b"{}"


@pytest.fixture
def removed(lane):
    """Remove the lane; return what came of it."""

    async def remove(*, force=False, others=()):
        call = scripts.remove_queue(lane.keys, force=force, others=others, now_ms=lane.now)
        answer, count = await lane.store.run(call)
        return answer.decode(), count

    return remove


async def test_a_queue_that_is_served_stays(lane, removed):
    await lane.beat("alice")
    await lane.beat("bob")

    assert await removed(force=True) == ("served", 2)
    assert await lane.command("EXISTS", lane.keys.leases) == 1


async def test_a_queue_with_an_active_task_stays(lane, removed):
    await lane.active()

    assert await removed(force=True) == ("active", 1)
    assert await lane.places() == {"one": "active"}


@pytest.mark.parametrize("state", ["waiting", "scheduled", "aggregating", "archived", "outbox"])
async def test_a_queue_that_holds_something_goes_by_force_only(lane, removed, state):
    if state == "archived":
        await lane.end(await lane.active())
    elif state == "outbox":
        await lane.store.register("lane")
        await lane.store.run(scripts.outbox_append(lane.keys, [Successor("task", "x", id="one")]))
    elif state == "aggregating":
        await lane.store.register("lane")
        task = NewTask(id="one", data=DATA, group=("greet:g", 60_000, 0, 9))
        await lane.store.run(scripts.group_add(lane.keys, [task], max_length=9, now_ms=lane.now))
    else:
        due_ms = lane.now + 9_000 if state == "scheduled" else 0
        await lane.add(NewTask(id="one", data=DATA, due_ms=due_ms))

    assert await removed() == ("held", 1)
    assert await removed(force=True) == ("removed", 1)
    assert await lane.command("EXISTS", *lane.keys.everything()) == 0


async def test_other_keys_go_in_the_same_step(lane, removed):
    days = tuple(lane.keys.day(lane.now + day * 86_400_000) for day in range(2_500))
    await lane.command("MSET", *(item for day in days for item in (day, "1")))

    assert await removed(others=days) == ("removed", 0)
    assert await lane.command("EXISTS", *days) == 0


async def add(store, keys):
    assert await store.add(keys.name, [NewTask(id="one", data=DATA)], max_length=9, whole=True) == [
        1
    ]


async def tick(store, keys):
    call = scripts.tick(keys, entry="e", slots=[Due(0, "one", DATA)], next_ms=2**50, overlap="skip")
    assert (await store.run(call))[1] == b"claimed"


async def trigger(store, keys):
    assert await store.run(scripts.trigger(keys, entry="e", task_id="one", data=DATA)) == 1


async def deliver(store, keys):
    item = ("q/1-1", Successor("task", "lane", id="one", data=DATA).fields())
    call = scripts.outbox_deliver(keys, [item], read_ms=store.now_ms())
    assert await store.run(call) == 0


async def join_group(store, keys):
    task = NewTask(id="one", data=DATA, group=("greet:g", 60_000, 0, 9))
    assert await store.run(scripts.group_add(keys, [task], max_length=9)) == [3]


@pytest.mark.parametrize("adding", [add, tick, trigger, deliver, join_group])
async def test_whoever_adds_by_a_cached_name_registers_the_queue_anew(lane, removed, adding):
    await lane.store.register("lane")
    await removed()
    await lane.command("SREM", QUEUES, "lane")

    await adding(lane.store, lane.keys)

    assert await lane.command("SISMEMBER", QUEUES, "lane") == 1
    assert await lane.command("HEXISTS", lane.keys.index, "one") == 1
