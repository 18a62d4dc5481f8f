import asyncio

import pytest

from duly.engine.enqueue.batcher import Batcher
from duly.engine.storage.scripts import NewTask
from duly.testing.waiting import until


class Door:
    """Stands for the store: notes each batch, and opens when a test says so."""

    def __init__(self):
        self.batches = []
        self.open = asyncio.Event()

    async def add(self, queue, tasks):
        self.batches.append((queue, [task.id for task in tasks]))
        await self.open.wait()
        return [task.id for task in tasks]


@pytest.fixture
async def door():
    return Door()


@pytest.fixture
async def batcher(door):
    return Batcher(door.add)


def task(task_id, size=2):
    return NewTask(id=task_id, data=b"x" * size)


def begin(batcher, *ids, queue="default", size=2):
    return [asyncio.create_task(batcher.add(queue, task(name, size))) for name in ids]


async def test_what_is_added_together_leaves_together_with_an_answer_each(door, batcher):
    adding = begin(batcher, "one", "two", "three", "four")
    await until(lambda: len(door.batches) == 2)
    door.open.set()

    assert await asyncio.gather(*adding) == ["one", "two", "three", "four"]
    assert door.batches == [("default", ["one"]), ("default", ["two", "three", "four"])]


async def test_one_after_the_other_leaves_at_once(door, batcher):
    door.open.set()

    assert [await batcher.add("default", task(name)) for name in ("one", "two")] == ["one", "two"]
    assert [ids for _, ids in door.batches] == [["one"], ["two"]]


async def test_each_queue_has_its_own(door, batcher):
    door.open.set()
    adding = begin(batcher, "one") + begin(batcher, "two", queue="low")

    assert await asyncio.gather(*adding) == ["one", "two"]
    assert sorted(queue for queue, _ in door.batches) == ["default", "low"]


async def test_a_batch_is_bounded_in_number_and_in_bytes(door, batcher):
    adding = begin(batcher, *map(str, range(1202)))
    await until(lambda: len(door.batches) == 4)
    door.open.set()
    await asyncio.gather(*adding)
    assert [len(ids) for _, ids in door.batches] == [1, 500, 500, 201]

    door.batches.clear()
    door.open.clear()
    adding = begin(batcher, *map(str, range(9)), size=256 * 1024)
    await until(lambda: len(door.batches) == 3)
    door.open.set()
    await asyncio.gather(*adding)
    assert [len(ids) for _, ids in door.batches] == [1, 4, 4]


async def test_a_cancelled_caller_takes_nobody_with_it(door, batcher):
    first, second, third = begin(batcher, "one", "two", "three")
    await until(lambda: len(door.batches) == 2)
    first.cancel()
    second.cancel()
    door.open.set()

    assert await third == "three"
    ended = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(error) for error in ended] == [asyncio.CancelledError] * 2
    assert await batcher.add("default", task("four")) == "four"


async def test_who_gives_up_before_the_batch_leaves_is_left_out(door, batcher):
    first, second, third = begin(batcher, "one", "two", "three")
    await asyncio.sleep(0)
    second.cancel()
    door.open.set()

    assert await first == "one"
    assert await third == "three"
    assert "two" not in [name for _, ids in door.batches for name in ids]


async def test_an_error_reaches_every_caller_of_its_batch_only():
    async def add(_, tasks):
        await asyncio.sleep(0)
        if len(tasks) > 1:
            raise ConnectionError("away")
        return [1]

    ended = await asyncio.gather(
        *begin(Batcher(add), "one", "two", "three"), return_exceptions=True
    )

    assert [ended[0], *map(type, ended[1:])] == [1, ConnectionError, ConnectionError]
