"""Foreign data in the broker: entries and side keys that nobody of ours wrote."""

import json
import random

import pytest

from duly import TaskState
from duly.engine.storage.keys import queue_keys
from duly.testing.history import What
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(300)
MARK = "sesame"
"""In every foreign value: what of it reaches a log has been logged raw."""
SECONDS = 60.0


def fields(chance, number):
    """Return the fields of an entry that is no task of ours."""
    deep = "[" * 20_000
    message = {"task_id": f"x{number}", "task_name": "work", "labels": {}, "kwargs": {}}
    odd = [
        {"x": MARK},
        {"data": ""},
        {"data": MARK.encode() + b"\xff\x00\x80"},
        {"data": deep + MARK},
        {"data": "NaN"},
        {"data": b"\x80\x04K\x01." + MARK.encode()},
        {"data": json.dumps(MARK)},
        {"data": json.dumps({**message, "task_id": MARK + "\n"})},
        {"data": json.dumps({**message, "task_id": MARK * 100})},
        {"data": json.dumps({**message, "task_name": MARK + " \u202e"})},
        {"data": json.dumps({**message, "kwargs": {"seconds": MARK}})},
        {"data": json.dumps({**message, "kwargs": {f"{MARK} \x1b[31m": 1}})},
        {"data": json.dumps({**message, "args": [MARK]})},
        {"data": json.dumps({**message, "labels": {"timeout_ms": MARK}})},
        {"data": json.dumps({**message, "labels": {"lock": {MARK: 1}, "max_attempts": -1}})},
        {"data": json.dumps({**message, "labels": {"headers": {MARK: 1}}})},
        {"data": json.dumps({**message, "labels": {"flow": {"next": [MARK]}}})},
        {"data": json.dumps({**message, "labels": {"group": [MARK, 1, 1, 1]}, "args": [1]})},
        {"data": json.dumps({**message, "labels": {"deadline_ms": 10**400}})},
        {"data": json.dumps({**message, "kwargs": {"seconds": 1e999}})},
        {"data": "x" * 2_000_000},
    ]
    entry = dict(chance.choice(odd))
    if chance.random() < 0.3:
        entry["tries"] = chance.choice([MARK, "-1 0", "1 2 3 4 5 6 7", "9" * 40, b"\xff"])
    return entry


@pytest.mark.fault("foreign data")
@pytest.mark.parametrize("seed", [1, 2])
async def test_foreign_entries_are_quarantined_and_hold_up_nobody(floor, own_server, seed):
    chance = random.Random(seed)
    worker = floor.worker("w")
    await floor.ready()
    stream = queue_keys("default").stream
    ours = []
    with own_server.client() as client:
        for number in range(120):
            client.xadd(stream, fields(chance, number))
            if number % 6 == 0:
                ours += await floor.enqueue(failures=number % 2)

    await floor.idle()
    ended = {event.task for event in floor.events(What.END)}
    report = await floor.inspector.queues.get("default")

    assert set(ours) <= ended
    assert report.quarantined + report.archived == 120
    assert worker.process.poll() is None
    assert MARK not in worker.text()
    assert "Traceback" not in worker.text()
    for task in (await floor.inspector.tasks.list("default", TaskState.QUARANTINED)).tasks:
        assert task.history, "why it was quarantined"
        assert MARK not in task.history[0].error


def kinds_of_keys():
    """Return each fixed key of a queue, by its name."""
    keys = queue_keys("default")
    return {
        name: getattr(keys, name)
        for name in keys.__slots__
        if name not in {"name", "prefix", "control"}
    }


WRONG = {
    "string": lambda client, key: client.set(key, MARK),
    "list": lambda client, key: client.rpush(key, MARK),
    "hash": lambda client, key: client.hset(key, MARK, MARK),
    "set": lambda client, key: client.sadd(key, MARK),
}


@pytest.mark.fault("foreign data")
@pytest.mark.parametrize("name", sorted(kinds_of_keys()))
async def test_a_key_of_a_wrong_type_holds_up_no_other_queue(floor, own_server, name):
    worker = floor.worker("w", queues={"default": 1, "other": 1}, lease_seconds=2)
    await floor.ready(queue="other")
    await floor.enqueue(queue="other")
    await floor.happened(What.END)
    key = kinds_of_keys()[name]

    with own_server.client() as client:
        for spoil in WRONG.values():
            client.delete(key)
            spoil(client, key)
            before = floor.count(What.END)
            await floor.enqueue(2, queue="other", failures=1)
            await floor.happened(What.END, before + 2)
        client.delete(key)

    async def works_again():
        # Whatever was in the key is gone; the queue itself goes on.
        await floor.enqueue()
        return floor.count(What.END) > before + 2

    await until(works_again, timeout=SECONDS, what="the queue whose key is whole again")
    assert worker.process.poll() is None
    assert MARK not in worker.text()


JUNK = [MARK, f"{MARK} {MARK}", b"\xff\xfe", "9" * 30, "-1", "", "{", f'{{"{MARK}": [1]}}']


@pytest.mark.fault("foreign data")
async def test_junk_in_side_keys_of_the_right_type_holds_up_nobody(floor, own_server):
    worker = floor.worker("w", lease_seconds=2)
    await floor.ready()
    keys = queue_keys("default")
    hashes = (
        *(keys.records, keys.tries, keys.history, keys.results, keys.locks, keys.totals),
        *(keys.servers, keys.cancels, keys.commands, keys.entries, keys.ticks, keys.joins),
        *(keys.awaited, keys.claims, keys.limits),
    )
    sets = (
        *(keys.scheduled, keys.retry, keys.archived, keys.completed, keys.quarantined),
        *(keys.aggregating, keys.groups, keys.members, keys.leases, keys.kinds, keys.delivered),
    )
    with own_server.client() as client:
        for value in JUNK:
            for key in hashes:
                client.hset(key, value or "empty", value)
            for key in sets:
                client.zadd(key, {value or "empty": 1})
            client.xadd(keys.outbox, {"queue": value, "what": value, "id": value})
            client.sadd("duly:queues", value)

    done = await floor.enqueue(20, failures=1)
    await until(
        lambda: {event.task for event in floor.events(What.END)} >= set(done),
        timeout=SECONDS,
        what="our own tasks have ended",
    )

    names = [report.name for report in await floor.inspector.queues.list()]
    assert "default" in names
    for state in TaskState:
        await floor.inspector.tasks.list("default", state, limit=100)
    assert worker.process.poll() is None
    assert MARK not in worker.text()
