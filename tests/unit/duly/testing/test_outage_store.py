"""The next calls of an outage store fail, before or after the broker has executed them."""

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.errors import BrokerDownError
from duly.job import Job


class Greet(Job, kind="greet"):
    """Says hello."""


async def test_the_given_number_of_calls_fails(outage_store):
    inspector = Inspector(outage_store)
    outage_store.fail_next(2)

    for _ in range(2):
        with pytest.raises(BrokerDownError, match="simulated by this test"):
            await inspector.queues.list()

    assert outage_store.left == 0
    assert await inspector.queues.list() == []


async def test_a_failed_call_does_not_reach_the_broker(outage_store, valkey_server):
    outage_store.fail_next(100)

    with pytest.raises(BrokerDownError):
        await Client(outage_store).enqueue(Greet())

    with valkey_server.client() as client:
        assert client.dbsize() == 0


async def test_a_lost_reply_leaves_the_call_executed(outage_store):
    await outage_store.register("default")
    outage_store.fail_next(executed=True)

    with pytest.raises(BrokerDownError):
        await outage_store.connection.command("SET", "duly:{default}:paused", 1)

    assert await outage_store.connection.command("GET", "duly:{default}:paused") == b"1"
