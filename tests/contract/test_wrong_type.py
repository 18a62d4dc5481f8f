"""A key of a wrong type, or a right that is missing: a script does its work or nothing.

Each transition runs while some key holds something else, or while its user may not run some
command, and again once that is over. Then everything is where it would be without the fault.
"""

import contextlib

import pytest
from pydantic import SecretStr

from duly.engine.storage import scripts
from duly.engine.storage.keys import KEY_NAMES
from duly.engine.storage.scripts import NewTask, Success, Successor
from duly.engine.storage.store import Store
from duly.errors import BrokerError

HOUR = 3_600_000
WRITES = [
    "expire", "hdel", "hincrby", "hset", "pexpire", "set", "unlink", "xack", "xadd", "xdel",
    "xgroup", "zadd", "zrem",
]  # fmt: skip
"""The commands by which scripts write."""
GROUP = ("greet:x", 5_000, 0, 2)


def later(lane, name, **options):
    return NewTask(id=name, data=lane.message(name), due_ms=lane.now + 1_000, **options)


async def settled(lane, destination, **options):
    held = [(await lane.active(name, lock=f"lock {name}"), name) for name in ("one", "two")]

    async def act():
        for stream_id, name in held:
            await lane.end(
                stream_id, name, destination=destination, in_ms=HOUR, lock=f"lock {name}", **options
            )

    return act


async def retry(lane):
    return await settled(lane, "retry")


async def archive(lane):
    return await settled(lane, "archived")


async def keep(lane):
    return await settled(lane, "completed", result=b"1")


async def drop(lane):
    return await settled(lane, "dropped", join_queue="other", join="j")


async def give_back(lane):
    return await settled(lane, "waiting")


async def succeed(lane):
    held = [(await lane.active(name, lock=f"lock {name}"), name) for name in ("one", "two")]
    return lambda: lane.finish(*held, locks=["lock one", "lock two"])


async def follow(lane):
    stream_id = await lane.active()
    after = [
        Successor("task", "lane", id=name, data=lane.message(name), delay_ms=delay_ms, lock=lock)
        for name, delay_ms, lock in (("now", 0, ""), ("soon", HOUR, ""), ("only", 0, "red"))
    ]
    after.append(Successor("task", "other", id="far", data=lane.message("far")))
    success = Success(
        stream_id=stream_id, id="one", kind="greet", successors=after, retention_ms=HOUR,
        result=b"1",
    )  # fmt: skip
    return lambda: lane.follow(success)


async def add(lane):
    new = [NewTask(id="a", data=lane.message("a"), lock="red", lock_ttl_ms=HOUR), later(lane, "b")]
    return lambda: lane.add(*new)


async def gather(lane):
    new = [NewTask(id=name, data=lane.message(name), group=GROUP) for name in ("a", "b")]
    return lambda: lane.gather(*new)


async def promote(lane):
    await lane.add(later(lane, "plain"))
    await lane.add(
        NewTask(id="member", data=lane.message("member", group=list(GROUP)), due_ms=lane.now + 1)
    )
    lane.now += 2_000

    async def act():
        await lane.move()
        lane.now += 61_000  # what could not move is due again a minute later

    return act


async def merge(lane):
    await (await gather(lane))()
    merged = NewTask(id="m", data=lane.message("m"))
    await lane.glean("greet")
    return lambda: lane.merge("greet:x", members=("a", "b"), merged=merged)


async def give_up_merging(lane):
    await (await gather(lane))()
    await lane.glean("greet")
    return lambda: lane.merge("greet:x", "archive", members=("a", "b"), attempt=b"{}")


async def merge_later(lane):
    await (await gather(lane))()
    await lane.glean("greet")
    return lambda: lane.merge("greet:x", "back")


async def reap(lane):
    await lane.beat()
    await lane.active("one", lock="red")
    await lane.active("two")
    lane.now += 11_000

    async def act():
        await lane.reap(max_crashes=1)

    return act


async def recover(lane):
    await reap(lane)

    async def act():
        await lane.reap()

    return act


async def requeue(lane):
    held = [(await lane.active(name), name) for name in ("one", "two")]
    return lambda: lane.requeue(*held)


async def limit(lane):
    held = {name: await lane.active(name) for name in ("one", "two")}
    return lambda: lane.permit(held, scripts.Limit(1))


async def wake(lane):
    held = {name: await lane.active(name) for name in ("one", "two")}
    await lane.permit(held, scripts.Limit(1))
    await lane.finish((held["one"], "one"))
    return lambda: lane.wake(1, held["one"])


async def wake_all(lane):
    held = {name: await lane.active(name) for name in ("one", "two", "three")}
    await lane.permit(held, scripts.Limit(1), tries="1 0")
    await lane.finish((held["one"], "one"))
    await lane.command("HSET", lane.keys.limits, "greet:running", 2)
    return lambda: lane.wake(2)


async def ration(lane):
    held = {name: await lane.active(name) for name in ("one", "two", "three")}
    often = scripts.Limit(0, every_us=1_000_000)
    await lane.permit({"one": held.pop("one")}, often)
    return lambda: lane.permit(held, often)


async def deliver(lane):
    task = Successor("task", "lane", id="t", data=lane.message("t"), delay_ms=HOUR, lock="red")
    join = Successor("join", "lane", join="j", number=1, id="last", data=lane.message("last"))
    arrive = Successor("arrive", "lane", join="j", number=0)
    return lambda: lane.deliver(("q/1-1", task), ("q/2-1", join), ("q/3-1", arrive))


async def put_aside(lane):
    await lane.add("one")
    return lambda: lane.operate("archive")


async def prune(lane):
    await (await archive(lane))()
    return lambda: lane.prune("archived", max_age_ms=-1, max_count=0)


async def tick(lane):
    await lane.store.register("lane")
    return lambda: lane.claim_slot(lane.now, lock="red")


TRANSITIONS = [
    add, archive, deliver, drop, follow, gather, give_back, give_up_merging, keep, limit, merge,
    merge_later, promote, prune, put_aside, ration, reap, recover, requeue, retry, succeed, tick,
    wake, wake_all,
]  # fmt: skip


async def whereabouts(lane):
    """Return where every task is: id → its state, or whether it waits or is active."""
    index, entries, held = await lane.map("index"), await lane.stream(), await lane.pending()
    states = {
        name: ("active" if place in held else "waiting") if place in entries else place.decode()
        for name, place in index.items()
    }
    for state in {*states.values()} - {"active", "waiting"}:
        there = {name for name, found in states.items() if found == state}
        assert set(await lane.members(state)) == there
        assert there <= set(await lane.map("records"))
    assert len(entries) == sum(state in {"active", "waiting"} for state in states.values())
    return states, sorted(letter["id"] for letter in await lane.letters())


@pytest.fixture
def clear(valkey_lane):
    """Return a coroutine function that empties the broker and puts the clock back."""
    lane = valkey_lane
    start = lane.now

    async def clear():
        await lane.command("FLUSHALL")
        lane.store.forget("lane")
        lane.now = start

    return clear


@pytest.fixture
async def narrow_store(valkey_lane, broker_settings):
    """A store whose user may run everything until the test takes a command away."""
    rules = ("on", ">narrow", "~*", "&*", "+@all")
    await valkey_lane.command("ACL", "SETUSER", "narrow", "reset", *rules)
    update = {"username": "narrow", "password": SecretStr("narrow"), "url": None}
    try:
        async with Store.open(broker_settings.model_copy(update=update)) as store:
            yield store
    finally:
        await valkey_lane.command("ACL", "DELUSER", "narrow")


each_transition = pytest.mark.parametrize(
    "transition", TRANSITIONS, ids=lambda transition: transition.__name__
)


@each_transition
async def test_a_key_of_a_wrong_type_breaks_nothing_half_way(valkey_lane, clear, transition):
    lane = valkey_lane
    act = await transition(lane)
    await act()
    expected = await whereabouts(lane)

    for name in KEY_NAMES:
        await clear()
        act = await transition(lane)
        key = getattr(lane.keys, name)
        there = await lane.command("EXISTS", key)
        if there:
            await lane.command("RENAME", key, key + "-away")
        await lane.command("SET", key, "not ours")
        with contextlib.suppress(BrokerError):
            await act()
        await lane.command("DEL", key)
        if there:
            await lane.command("RENAME", key + "-away", key)
        await act()

        assert await whereabouts(lane) == expected, name


@each_transition
async def test_a_missing_right_breaks_nothing_half_way(
    valkey_lane, narrow_store, clear, transition
):
    lane, whole = valkey_lane, valkey_lane.store
    act = await transition(lane)
    await act()
    expected = await whereabouts(lane)

    for command in WRITES:
        await clear()
        act = await transition(lane)
        await lane.command("ACL", "SETUSER", "narrow", f"-{command}")
        lane.store = narrow_store
        with contextlib.suppress(BrokerError):
            await act()
        lane.store = whole
        await lane.command("ACL", "SETUSER", "narrow", f"+{command}")
        await act()

        assert await whereabouts(lane) == expected, command
