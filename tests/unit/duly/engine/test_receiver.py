"""The receiver's own part: what it does with tasks that it has read and not begun."""

import pytest

from duly.engine.broker import JobBroker
from duly.engine.client import Client
from duly.engine.receiver import JobReceiver
from duly.engine.store import Store
from duly.job import Job


class Slow(Job, kind="slow"):
    number: int


@pytest.fixture
async def receiver(broker_settings):
    """A receiver that has read two tasks and has a slot for neither."""
    async with (
        Store.open(broker_settings) as store,
        Client.connect(broker_settings) as client,
    ):
        jobs = JobBroker(store, {"default": 1, "low": 1}, server="one")
        await jobs.startup()
        await client.enqueue(Slow(number=1))
        await client.enqueue(Slow(number=2), queue="low")
        receiver = JobReceiver(jobs, concurrency=1)
        for queue in jobs.queues:
            reader = store.reader(queue)
            for delivery in await reader.read(server="one", count=1, block_ms=1_000):
                receiver._waiting.append((queue, delivery))
                receiver._held.add(delivery.entry)
            await reader.close()
        yield receiver
        await receiver._source.close()


async def test_what_waits_for_a_slot_is_let_go_when_the_lease_is_lost(receiver):
    receiver.lose_lease("low")

    assert [queue for queue, _ in receiver._waiting] == ["default"]


async def test_what_was_let_go_is_read_again_where_it_is_still_ours(receiver):
    (lost,) = (delivery.entry for queue, delivery in receiver._waiting if queue == "low")

    receiver.lose_lease("low")

    found = await receiver._source.next(1)
    assert [(queue, delivery.entry) for queue, delivery in found] == [("low", lost)]
