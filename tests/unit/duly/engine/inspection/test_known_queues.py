"""The queue that holds something: found by few commands, whatever stands under the others' keys."""

import pytest

from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.known_queues import UnreadableQueueError
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.errors import BrokerError, NotFoundError
from duly.job import Job, Policy


class Errand(Job, kind="errand", policy=Policy(queue="queue-7")):
    pass


@pytest.fixture(params=[True, False], ids=["by script", "by commands"])
async def looking(request, inspector, store):
    """Return an inspector that has seen that it may run scripts, or has not."""
    for number in range(10):
        await store.register(f"queue-{number}")
    if request.param:
        await inspector.overview.read()
    return inspector


async def test_a_task_is_found_in_its_queue(client, looking):
    task = await client.enqueue(Errand())

    assert (await looking.tasks.find(task.id)).queue == "queue-7"
    with pytest.raises(NotFoundError):
        await looking.tasks.find("nowhere")


async def test_a_queue_that_cannot_be_read_hides_no_task_of_another(client, looking, store):
    task = await client.enqueue(Errand())
    await store.connection.command("SET", queue_keys("queue-3").index, "text")

    assert (await looking.tasks.find(task.id)).queue == "queue-7"
    with pytest.raises(UnreadableQueueError, match=r"queue-3 .* is a string, not a hash"):
        await looking.tasks.find("nowhere")


async def test_an_entry_is_found_by_its_queue(looking, store):
    entry = '{"kind":"errand","interval_ms":5000,"overlap":"skip","announced_ms":1}'
    await store.connection.command("HSET", queue_keys("queue-7").entries, "tick", entry)

    await looking.schedules.pause("tick")

    ticks = queue_keys("queue-7").ticks
    assert await store.connection.command("HEXISTS", ticks, "tick:paused-since")
    with pytest.raises(NotFoundError):
        await looking.schedules.pause("tock")


async def test_a_right_that_was_taken_away_hides_nothing(client, looking, monkeypatch):
    task = await client.enqueue(Errand())

    async def refuse(_):
        raise BrokerError("NOPERM this user has no permissions to run the 'evalsha' command")

    monkeypatch.setattr(looking.tasks._known.store, "run", refuse)

    assert (await looking.tasks.find(task.id)).queue == "queue-7"


@pytest.mark.parametrize("broker", ["valkey", "redis"])
async def test_a_thousand_queues_take_few_commands(broker, request, commands_of):
    server = request.getfixturevalue(f"{broker}_server")
    server.flush()
    async with Store.open(server.settings()) as store:
        inspector = Inspector(store)
        for number in range(1_000):
            await store.register(f"queue-{number}")
        await inspector.overview.read()
        async with commands_of(server, store) as sent:
            with pytest.raises(NotFoundError):
                await inspector.tasks.find("nowhere")

    assert len(sent) <= 6  # one that finds the script unknown is sent twice
