"""A join that is cancelled cancels the join that waits for it, in whatever queue that is."""

import contextlib

import pytest

from duly.engine.enqueue.flows import Origin, follow, plan
from duly.engine.enqueue.outbox import OutboxRelay
from duly.engine.storage import scripts
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.scripts import Settlement, Successor
from duly.errors import BrokerDownError
from duly.flow import chain, group, step
from duly.job import Job

QUEUES = ("lane", "far", "farther")


class Work(Job, kind="work"):
    pass


def nested():
    """Return a flow of three groups, one within the other, with their joins in three queues."""
    innermost = group([step(Work(), queue="lane")] * 2, then=step(Work(), queue="farther"))
    inner = group([step(Work(), queue="lane"), innermost], then=step(Work(), queue="far"))
    outer = group([step(Work(), queue="lane"), inner], then=step(Work(), queue="lane"))
    return chain(outer, step(Work(), queue="lane"))


async def relay_all(store):
    """Relay every outbox until all are empty."""
    for _ in range(20):
        for queue in QUEUES:
            await store.register(queue)
            await OutboxRelay(store, queue).run_once()
        if not [queue for queue in QUEUES if await length(store, queue)]:
            return
    raise AssertionError("the outboxes do not empty")


async def length(store, queue):
    return await store.connection.command("XLEN", queue_keys(queue).outbox)


async def joins(store):
    """Return which queues have joins, checking that no member is awaited without one."""
    found = {}
    for queue in QUEUES:
        keys = queue_keys(queue)
        names = await store.connection.command("HKEYS", keys.joins)
        awaited = await store.connection.command("HKEYS", keys.awaited)
        assert {name.partition(b"\n")[0] for name in awaited} == set(names)
        if names:
            found[queue] = [name.decode() for name in names]
    return found


@pytest.fixture
async def begun(lane):
    """A nested flow whose members all wait, and whose joins all wait for them."""
    origin = Origin(task_id="", headers={}, now_ms=lane.now)
    await lane.store.register("lane")
    first = list(follow(plan(nested(), "f"), None, origin))
    await lane.store.run(scripts.outbox_append(lane.keys, first))
    await relay_all(lane.store)
    found = await joins(lane.store)
    assert {queue: len(names) for queue, names in found.items()} == dict.fromkeys(QUEUES, 1)
    return {queue: names[0] for queue, names in found.items()}


async def revoke(lane, begun):
    """Let a member of the innermost group be revoked."""
    held = await lane.claim()
    (member, *_) = [item for item in held if begun["farther"] + ".1" in item.data.decode()]
    settlement = Settlement(
        stream_id=member.stream_id, id=member.data.split(b'"')[3].decode(), kind="work",
        destination="dropped", join_queue="farther", join=begun["farther"],
    )  # fmt: skip
    assert await lane.settle(settlement) == []


async def cancel(lane, begun):
    call = scripts.cancel_join(queue_keys("farther"), begun["farther"])
    assert await lane.store.run(call) == 1


async def expire(lane, _begun):
    keys = queue_keys("farther")
    call = scripts.expire_joins(keys, max_age_ms=0, max_count=0, now_ms=lane.now + 10**12)
    assert (await lane.store.run(call))[1] == 1


@pytest.mark.parametrize("begin", [revoke, cancel, expire])
async def test_what_waits_for_a_cancelled_join_is_cancelled_too(lane, begun, begin):
    await begin(lane, begun)

    await relay_all(lane.store)

    assert await joins(lane.store) == {}


class Mortal:
    """The connection of relays: the n-th call of one sort fails before it has an effect."""

    def __init__(self, connection, sort, nth):
        self._command, self._script = connection.command, connection.script
        self._sort, self._left = sort, nth

    def _die(self, sort):
        if sort == self._sort:
            self._left -= 1
            if self._left == 0:
                raise BrokerDownError("nowhere")

    async def command(self, *args):
        self._die(args[0])
        return await self._command(*args)

    async def script(self, sha, text, keys, args, head=None):
        if keys[-1].endswith("outbox") and len(args) > 4:
            self._die("delivery")
        return await self._script(sha, text, keys, args, head)


@pytest.mark.parametrize("begin", [revoke, cancel, expire])
@pytest.mark.parametrize("sort", ["delivery", "XDEL"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_relay_that_dies_on_the_way_cancels_all_the_same(lane, begun, begin, sort, nth):
    """Before and after each delivery, of which there are two or three."""
    await begin(lane, begun)
    connection = lane.store.connection
    mortal = Mortal(connection, sort, nth)
    connection.command, connection.script = mortal.command, mortal.script
    for queue in QUEUES * 3:
        with contextlib.suppress(BrokerDownError):
            await OutboxRelay(lane.store, queue).run_once()
    del connection.command, connection.script

    await relay_all(lane.store)

    assert await joins(lane.store) == {}


async def test_a_cancellation_that_arrives_twice_cancels_once(lane, begun):
    keys = queue_keys("farther")
    item = Successor("cancel", "farther", join=begun["farther"])
    for delivery in ("q/1-1", "q/2-1"):
        await lane.store.run(
            scripts.outbox_deliver(
                keys, [(delivery, item.fields())], read_ms=lane.now, now_ms=lane.now
            )
        )

    assert await length(lane.store, "farther") == 1
    await relay_all(lane.store)
    assert await joins(lane.store) == {}


async def test_a_join_that_is_no_member_cancels_nothing_else(lane):
    join = Successor("join", "lane", join="j", number=1, id="last", data=lane.message("last"))
    await lane.store.register("lane")
    await lane.deliver(("q/1-1", join))

    assert await lane.store.run(scripts.cancel_join(lane.keys, "j")) == 1

    assert await lane.letters() == []


@pytest.mark.parametrize(
    "flow", [5, [], {"join": 5}, {"join": ["far"]}, {"join": [1, 2, 3]}, {"join": {"queue": "far"}}]
)
async def test_a_foreign_flow_in_a_join_cancels_nothing_else(lane, flow):
    data = lane.message("last", flow=flow)
    join = Successor("join", "lane", join="j", number=1, id="last", data=data)
    await lane.store.register("lane")
    await lane.deliver(("q/1-1", join))

    assert await lane.store.run(scripts.cancel_join(lane.keys, "j")) == 1

    assert await lane.letters() == []
    assert await lane.map("awaited") == {}
