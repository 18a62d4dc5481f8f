from datetime import timedelta

import pytest

from duly.engine.maintenance.janitor import Janitor
from duly.engine.storage.keys import queue_keys
from duly.errors import NotFoundError
from duly.job import Job

KEYS = queue_keys("default")


class Bill(Job, kind="bill"):
    order_id: int = 0


@pytest.fixture
async def store(store):
    await store.register("default")
    return store


async def test_locks_are_listed_with_holder_and_end(client, inspector, store):
    hour = timedelta(hours=1)
    later = await client.enqueue(Bill(order_id=1), unique_for=2 * hour)
    sooner = await client.enqueue(Bill(order_id=2), unique_for=hour)
    await store.connection.command("HSET", KEYS.locks, "over", "1 gone", "odd", "scribble")

    page = await inspector.locks.list("default")

    assert [lock.task_id for lock in page.locks] == [sooner.id, later.id]
    assert page.complete
    wait = page.locks[0].expires_at - sooner.enqueued_at
    assert abs(wait - hour) < timedelta(minutes=1)


async def test_a_listing_is_bounded_and_says_so(inspector, store):
    end = store.now_ms() + 60_000
    values = [item for number in range(3_000) for item in (f"d{number}", f"{end} t{number}")]
    await store.register("default")
    await store.connection.command("HSET", KEYS.locks, *values)

    page = await inspector.locks.list("default", most=600)

    assert len(page.locks) == 600
    assert not page.complete


async def test_there_are_no_locks_of_a_queue_that_is_not_there(inspector):
    with pytest.raises(NotFoundError):
        await inspector.locks.list("nowhere")


async def test_the_janitor_drops_locks_whose_time_is_over(store):
    held = f"{store.now_ms() + 60_000} held"
    values = [item for number in range(3_000) for item in (f"d{number}", f"1 t{number}")]
    await store.connection.command("HSET", KEYS.locks, "held", held, *values)

    await Janitor(store, "default").run_once()

    assert await store.connection.command("HLEN", KEYS.locks) == 1
