"""What the broker refuses of one thing holds up nothing beside it: keys of wrong types."""

import asyncio
from datetime import timedelta

import pytest

from duly.engine.enqueue.outbox import OutboxRelay
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.scripts import Successor, outbox_append
from duly.engine.storage.store import Store
from duly.errors import BrokerError
from duly.flow import group, step
from duly.job import Aggregate, Job, Policy
from duly.testing.waiting import until

KEYS = queue_keys("default")


class Scarce(Job, kind="scarce", policy=Policy(max_running=1)):
    pass


class Plain(Job, kind="plain"):
    pass


class Unique(Job, kind="unique", policy=Policy(unique_for=timedelta(minutes=1))):
    number: int


class Note(Job, kind="note", policy=Policy(aggregate=Aggregate(grace=timedelta(0), max_size=100))):
    pass


class Digest(Job, kind="digest", policy=Policy(unique_for=timedelta(minutes=1))):
    group: str


class Ran(list):
    """The kinds of the tasks that have run."""

    async def __call__(self, _, context):
        self.append(context.kind)


@pytest.fixture
def ran():
    return Ran()


@pytest.mark.parametrize("key", [KEYS.limits, KEYS.permits("scarce"), KEYS.parked("scarce")])
async def test_a_limit_that_cannot_be_asked_for_takes_no_slots(
    client, serve, valkey_server, ran, key
):
    with valkey_server.client() as raw:
        raw.set(key, "not ours")
        await serve({Scarce: ran, Plain: ran}, concurrency=2)
        await client.enqueue_many([Scarce()] * 6)
        await client.enqueue_many([Plain()] * 6)
        await until(lambda: ran.count("plain") == 6)
        assert "scarce" not in ran
        # Nothing of them failed: they wait, their attempts unchanged.
        await until(lambda: raw.zcard(KEYS.scheduled) == 6)
        raw.delete(key)
        await until(lambda: ran.count("scarce") == 6)


async def test_a_task_that_is_refused_spoils_no_other_of_its_batch(client, valkey_server):
    await client.enqueue(Plain())
    with valkey_server.client() as raw:
        raw.set(KEYS.locks, "not ours")
        jobs = [Unique(number=n) if n % 5 == 0 else Plain() for n in range(50)]
        answers = await asyncio.gather(
            *(client.enqueue(job) for job in jobs), return_exceptions=True
        )

        refused = [isinstance(answer, BrokerError) for answer in answers]
        assert refused == [isinstance(job, Unique) for job in jobs]
        assert raw.xlen(KEYS.stream) == 41


async def test_a_group_that_cannot_be_completed_holds_up_no_other(
    client, serve, valkey_server, ran
):
    def merge(notes, name):
        return Digest(group=name) if name == "a" else Plain()

    with valkey_server.client() as raw:
        for name in "aabbc":
            await client.enqueue(Note(), group=name)
        raw.set(KEYS.locks, "not ours")
        await serve({Digest: ran, Plain: ran}, merge={Note: merge})
        await until(lambda: ran == ["plain", "plain"])
        assert raw.zcard(KEYS.aggregating) == 2


async def test_an_entry_that_its_target_refuses_holds_up_no_other(
    store, valkey_server, frozen_clock
):
    bad = queue_keys("bad")
    await store.register("bad")
    entries = [
        Successor("task", "bad", "plain", id=f"t{n}", data=b"{}", delay_ms=1000 * (n == 3))
        for n in range(9)
    ]
    await store.run(outbox_append(queue_keys("home"), entries))
    relay = OutboxRelay(store, "home", clock=frozen_clock)
    with valkey_server.client() as raw:
        raw.set(bad.scheduled, "not ours")
        for _ in range(30):
            while not await relay.run_once():
                pass
            frozen_clock.advance(timedelta(seconds=1))
        assert raw.xlen(bad.stream) == 8
        assert raw.xlen(queue_keys("home").outbox) == 1

        raw.delete(bad.scheduled)
        frozen_clock.advance(timedelta(seconds=61))
        await relay.run_once()
        assert raw.xlen(queue_keys("home").outbox) == 0
        assert raw.zcard(bad.scheduled) == 1


async def test_members_wait_for_a_join_that_is_refused_and_others_do_not(
    client, valkey_server, frozen_clock, broker_settings
):
    with valkey_server.client() as raw:
        await client.enqueue(Plain())
        raw.set(KEYS.joins, "not ours")
        async with Store.open(broker_settings) as store:
            await client.start(group([Plain(), Plain()], then=step(Plain(), task_id="last")))
            other = Successor("task", "default", "plain", id="other", data=b"{}")
            await store.run(outbox_append(KEYS, [other]))
            relay = OutboxRelay(store, "default", clock=frozen_clock)
            await relay.run_once()
            assert raw.xlen(KEYS.stream) == 2
            assert raw.xlen(KEYS.outbox) == 3

            raw.delete(KEYS.joins)
            frozen_clock.advance(timedelta(seconds=61))
            await relay.run_once()
            assert raw.xlen(KEYS.stream) == 4
            assert raw.hlen(KEYS.joins) == 1
