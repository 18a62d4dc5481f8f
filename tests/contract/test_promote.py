"""promote.lua: what is due waits, not a millisecond early, and whoever moves it."""

import asyncio

import pytest

from duly.engine.storage.scripts import NewTask


def due(lane, task_id, in_ms):
    return NewTask(id=task_id, data=b"{}", due_ms=lane.now + in_ms)


async def test_nothing_moves_a_millisecond_early(lane):
    await lane.add(due(lane, "one", 1000))

    lane.now += 999
    assert await lane.move() == [0, 1]
    assert await lane.places() == {"one": "scheduled"}
    lane.now += 1
    assert await lane.move() == [1, -1]
    assert await lane.places() == {"one": "waiting"}


async def test_scheduled_and_retry_both_move(lane):
    await lane.end(await lane.active("retry"), "retry", destination="retry", in_ms=10)
    await lane.add(due(lane, "scheduled", 10))
    lane.now += 10

    assert await lane.move() == [2, -1]

    assert await lane.places() == {"retry": "waiting", "scheduled": "waiting"}


async def test_a_move_tells_when_the_next_is_due(lane):
    await lane.add(due(lane, "one", 100), due(lane, "two", 70))

    assert await lane.move() == [0, 70]


async def test_a_batch_is_bounded_and_the_rest_is_due_at_once(lane):
    await lane.add(*(due(lane, str(number), 1) for number in range(25)))
    lane.now += 1

    assert [await lane.move(most=10) for _ in range(3)] == [[10, 0], [10, 0], [5, -1]]


async def test_a_batch_is_shared_by_scheduled_and_retry(lane):
    for name in ("a", "b"):
        await lane.end(await lane.active(name), name, destination="retry")
    await lane.add(due(lane, "c", 1), due(lane, "d", 1))
    lane.now += 1

    assert await lane.move(most=3) == [3, 0]
    assert await lane.move(most=3) == [1, -1]


async def test_a_retry_takes_its_tries_and_keeps_its_history(lane):
    await lane.end(await lane.active(), destination="retry", tries="3 1")
    await lane.move()

    (delivery,) = await lane.claim()

    assert (delivery.attempts, delivery.crashes) == (3, 1)
    assert set(await lane.map("history")) == {"one"}
    await lane.places()


async def test_many_movers_at_once_move_a_task_once(lane):
    await lane.add(due(lane, "one", 1))
    lane.now += 1

    async with asyncio.TaskGroup() as group:
        moving = [group.create_task(lane.move()) for _ in range(20)]

    assert sum(move.result()[0] for move in moving) == 1
    assert len(await lane.stream()) == 1


@pytest.mark.parametrize("operation", ["run", "delete"])
async def test_a_task_without_a_record_is_quarantined_where_it_can_be_seen(lane, operation):
    await lane.add(due(lane, "one", 1))
    await lane.command("DEL", lane.keys.records)
    lane.now += 1

    assert await lane.move() == [0, -1]

    assert await lane.places() == {"one": "quarantined"}
    assert await lane.operate(operation) == ("missing" if operation == "run" else "ok")
    await lane.places()


async def test_no_time_is_lost_far_in_the_future(lane):
    far = 253_402_300_799_999
    await lane.add(NewTask(id="one", data=b"{}", due_ms=far))

    assert await lane.score("scheduled") == far
    assert await lane.move() == [0, far - lane.now]


async def doubled(lane):
    """Let another program add our active task again; return both stream_ids, ours first."""
    await lane.add(NewTask(id="one", data=lane.message("one")))
    (ours,) = await lane.claim()
    await lane.command("XADD", lane.keys.stream, "*", "data", ours.data)
    (double,) = await lane.claim()
    await lane.end(double.stream_id, destination="retry")
    lane.now += 1
    return ours.stream_id, double.stream_id


async def test_a_double_leaves_nothing_of_its_stand_in(lane):
    ours, _ = await doubled(lane)

    assert await lane.move() == [1, -1]

    (again,) = await lane.claim()
    await lane.finish((again.stream_id, "one"), (ours, "one"))
    assert await lane.places() == {}
    assert await lane.stream() == {}


async def test_a_double_whose_name_is_free_takes_it(lane):
    ours, _ = await doubled(lane)
    await lane.finish((ours, "one"))

    await lane.move()

    assert await lane.places() == {"one": "waiting"}
    assert await lane.map("history")
