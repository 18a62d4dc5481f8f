"""A snapshot of all queues: what the other reports tell, by few commands."""

from datetime import timedelta

import pytest

from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.store import Store
from duly.errors import BrokerError
from duly.job import Job, Policy
from duly.task import TaskState

MINUTE_MS = 60_000
DESCRIPTION = (
    b'{"host":"h","pid":1,"queues":{"default":1},"concurrency":7,"started_ms":1,"beat_ms":1,'
    b'"lease_ms":60000}'
)
ENTRY = '{"kind":"note","interval_ms":5000,"overlap":"skip","announced_ms":1}'


class Note(Job, kind="note"):
    number: int = 0


class Low(Job, kind="low", policy=Policy(queue="low")):
    pass


async def fill(client, inspector, store):
    for number in range(3):
        await client.enqueue(Note(number=number))
    await client.enqueue(Note(), task_id="later", delay=timedelta(hours=1))
    await client.enqueue(Note(), task_id="gone", delay=timedelta(hours=1))
    await inspector.tasks.archive("default", "gone")
    await inspector.queues.pause("default", by="ada", reason="the gateway is down")
    await store.heartbeat("default", server="s1", lease_ms=60_000, description=DESCRIPTION)
    keys, now_ms = queue_keys("default"), store.now_ms()
    minute = now_ms // MINUTE_MS
    for back, processed in ((0, 3), (1, 8), (40, 5)):
        of = minute - back
        await store.connection.command(
            "HSET", keys.hour(of * MINUTE_MS), f"{of % 60}:note:processed", processed,
            f"{of % 60}:other:processed", 1, f"{of % 60}:note:failed", 2,
        )  # fmt: skip
    await store.connection.command("HSET", keys.totals, "note:processed", 9, "a:b:failed", 2)
    await store.connection.command("HSET", keys.entries, "tick", ENTRY)
    await client.enqueue(Low())


def still(report):
    """Return a report without what passes with time."""
    return [
        getattr(report, name)
        for name in report.__slots__
        if name not in {"oldest_waiting", "processed_per_minute", "failed_per_minute"}
    ]


async def test_it_is_what_the_inspector_tells_one_by_one(client, inspector, store):
    await fill(client, inspector, store)

    found = await inspector.overview.read()

    told = await inspector.queues.list()
    assert [still(report) for report in found.queues] == [still(report) for report in told]
    assert [report.name for report in found.queues] == ["default", "low"]
    assert found.queues[0].oldest_waiting < timedelta(seconds=60)
    assert found.queues[0].processed_per_minute >= 4
    assert found.queues[0].pause_reason == "the gateway is down"
    assert found.servers == await inspector.servers.list()
    assert [entry.id for entry in found.entries] == ["tick"]
    assert [broker.queues for broker in found.brokers] == [("default", "low")]


async def test_what_is_due_and_left_is_told(client, inspector, store):
    await client.enqueue(Note(), delay=timedelta(hours=1))
    keys, ago = queue_keys("default"), store.now_ms() - 90_000
    await store.connection.command("ZADD", keys.groups, ago, "note:ada")
    await store.connection.command("ZADD", keys.retry, "-inf", "stranger")

    (report,) = (await inspector.overview.read()).queues
    alone = await inspector.queues.get("default")

    for found in (report.overdue, alone.overdue):
        assert found.keys() == {TaskState.RETRY, TaskState.AGGREGATING}
        assert timedelta(seconds=89) < found[TaskState.AGGREGATING] < timedelta(minutes=10)
        assert found[TaskState.RETRY] > timedelta(days=10_000)


async def test_strangers_in_place_of_groups_hide_nothing_else(client, inspector, store):
    await client.enqueue(Note())
    await store.connection.command("SET", queue_keys("default").groups, "text")

    (report,) = (await inspector.overview.read()).queues
    alone = await inspector.queues.get("default")

    assert (report.waiting, report.error, report.overdue) == (1, "", {})
    assert (alone.waiting, alone.error, alone.overdue) == (1, "", {})


async def test_its_minutes_are_those_of_each_queue(client, inspector, store):
    await fill(client, inspector, store)

    for _ in range(2):  # the first reads all minutes, and the next only those that still change
        found = await inspector.overview.read()
        told = {each.at: each for each in await inspector.queues.minutes("default", count=61)}

        assert len(found.minutes["default"]) == len(found.minutes["low"]) == 61
        shared = [each for each in found.minutes["default"] if each.at in told]
        assert len(shared) >= 59
        assert shared == [told[each.at] for each in shared]
        assert sum(each.processed for each in shared) == 19


async def test_a_queue_that_cannot_be_read_hides_no_other(inspector, store):
    await store.register("default")
    await store.register("odd")
    await store.connection.command("SET", queue_keys("odd").records, "text")

    found = await inspector.overview.read()

    default, odd = found.queues
    assert default.error == ""
    assert "records is a string, not a hash" in odd.error
    assert found.minutes["odd"] == ()


async def test_a_count_that_is_no_number_is_told_as_ever(inspector, store):
    keys = await store.register("default")
    await store.connection.command("HSET", keys.totals, "note:processed", "many")

    (report,) = (await inspector.overview.read()).queues

    assert report.error == (await inspector.queues.list())[0].error != ""


async def test_a_user_without_scripts_gets_the_same(client, inspector, store, monkeypatch):
    await fill(client, inspector, store)
    expected = await inspector.overview.read()

    async def refuse(_):
        raise BrokerError("NOPERM this user has no permissions to run the 'evalsha' command")

    monkeypatch.setattr(inspector.overview._store, "run", refuse)
    found = await inspector.overview.read()

    assert [still(queue) for queue in found.queues] == [still(queue) for queue in expected.queues]
    assert found.servers == expected.servers
    assert [entry.id for entry in found.entries] == ["tick"]
    assert sum(each.processed for each in found.minutes["default"]) == 19


@pytest.mark.parametrize("broker", ["valkey", "redis"])
@pytest.mark.parametrize(("queues", "most"), [(1, 3), (120, 5)])
async def test_many_queues_take_a_command_for_each_fifty(
    broker, queues, most, request, commands_of
):
    server = request.getfixturevalue(f"{broker}_server")
    server.flush()
    async with Store.open(server.settings()) as store:
        inspector = Inspector(store)
        for number in range(queues):
            await store.register(f"queue-{number}")
        await inspector.overview.read()
        async with commands_of(server, store) as sent:
            found = await inspector.overview.read()

    assert len(found.queues) == queues
    assert not any(queue.error for queue in found.queues)
    assert len(sent) <= most
