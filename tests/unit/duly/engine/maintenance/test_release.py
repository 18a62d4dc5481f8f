"""Quarantined tasks of kinds that nobody knew wait again: all, in their order, whatever fails."""

import pytest

from duly.clock import from_unix_ms
from duly.engine.maintenance.release import release_quarantined
from duly.engine.storage.codec import Message, encode, encode_attempt
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.reports import UNKNOWN_KIND
from duly.errors import BrokerDownError
from duly.task import Attempt, AttemptOutcome

KEYS = queue_keys("default")


@pytest.fixture
async def quarantined(outage_store):
    """`await quarantined(ids, kind, error)` puts tasks where nobody runs them, oldest first."""

    async def put(ids, *, kind="new", error=UNKNOWN_KIND):
        await outage_store.register("default")
        attempt = Attempt(
            number=1, outcome=AttemptOutcome.QUARANTINED, at=from_unix_ms(1), error=error
        )
        for number, task_id in enumerate(ids, start=1):
            data = encode(Message(task_id=task_id, task_name=kind))
            await outage_store.connection.many(
                [
                    ("ZADD", KEYS.quarantined, number, task_id),
                    ("HSET", KEYS.records, task_id, data),
                    ("HSET", KEYS.history, task_id, encode_attempt(attempt)),
                    ("HSET", KEYS.index, task_id, "quarantined"),
                ]
            )

    return put


@pytest.fixture
def waiting(outage_store):
    """Return the ids of what waits, in its order."""

    async def read():
        entries = await outage_store.connection.command("XRANGE", KEYS.stream, "-", "+")
        index = await outage_store.connection.command("HGETALL", KEYS.index)
        names = (
            index.items() if isinstance(index, dict) else zip(index[::2], index[1::2], strict=True)
        )
        by_entry = {entry: name.decode() for name, entry in names}
        return [by_entry[entry] for entry, _ in entries]

    return read


async def test_several_pages_wait_again_in_the_order_of_their_quarantine(
    outage_store, quarantined, waiting
):
    ids = [f"task-{number:03}" for number in range(250)]
    await quarantined(ids)

    assert await release_quarantined(outage_store, "default", {"new"}) == 250

    assert await waiting() == ids


async def test_what_is_of_other_kinds_or_was_quarantined_for_another_reason_stays(
    outage_store, quarantined, waiting
):
    await quarantined(["other"], kind="old")
    await quarantined(["crashed"], error="its server died")
    await quarantined(["ours"])

    assert await release_quarantined(outage_store, "default", {"new"}) == 1

    assert await waiting() == ["ours"]


async def test_what_fails_is_left_for_the_next_call(outage_store, quarantined, waiting):
    ids = [f"task-{number:02}" for number in range(20)]
    await quarantined(ids)
    operate, seen = outage_store.operate, []

    async def sometimes(queue, operation, *, task_id):
        seen.append(task_id)
        if task_id == "task-07":
            outage_store.fail_next()
        return await operate(queue, operation, task_id=task_id)

    outage_store.operate = sometimes

    with pytest.raises(BrokerDownError):
        await release_quarantined(outage_store, "default", {"new"})
    assert seen == ids, "the others are not given up"
    assert await waiting() == [task_id for task_id in ids if task_id != "task-07"]
    outage_store.operate = operate

    assert await release_quarantined(outage_store, "default", {"new"}) == 1
    assert sorted(await waiting()) == ids
