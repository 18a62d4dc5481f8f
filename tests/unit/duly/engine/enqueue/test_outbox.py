import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from duly.engine.enqueue.flows import Origin, follow, plan
from duly.engine.enqueue.outbox import _FIELDS, OutboxRelay, launch
from duly.engine.maintenance.janitor import Janitor
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.scripts import Successor, outbox_append
from duly.engine.storage.store import Store
from duly.engine.transport.connection import Connection
from duly.errors import BrokerDownError
from duly.flow import group, step
from duly.job import Job
from duly.testing.clock import FrozenClock
from duly.testing.cluster import RedisCluster


def entry_for(queue, task_id, **options):
    data = b'{"task_id":"%s","task_name":"greet"}' % task_id.encode()
    return Successor("task", queue, id=task_id, data=data, **options)


@pytest.fixture
async def store(store):
    await store.register("home")
    return store


@pytest.fixture
def outbox(store):
    """Return the number of entries in the outbox of `home`."""

    async def count():
        return await store.connection.command("XLEN", queue_keys("home").outbox)

    return count


@asynccontextmanager
async def killed_before(store, monkeypatch, command):
    """Let nothing get through from the given command on, as when a process is killed there."""
    real, real_many, dead = store.connection.command, store.connection.many, []

    def die_before(*names):
        if dead or command in names:
            dead.append(names)
            raise BrokerDownError("here", "killed")

    async def mortal(*args):
        die_before(args[0])
        return await real(*args)

    async def mortal_many(commands):
        die_before(*(name for name, *_ in commands))
        return await real_many(commands)

    with monkeypatch.context() as patch:
        patch.setattr(store.connection, "command", mortal)
        patch.setattr(store.connection, "many", mortal_many)
        yield
    assert dead


async def finish_all(store, queue):
    """Run and end what waits in a queue; return the ids."""
    reader = store.reader(queue)
    found = await reader.read(server="s", count=100, block_ms=1)
    await reader.close()
    ids = [delivery.data.split(b'"')[3].decode() for delivery in found]
    if found:
        await store.complete(
            queue,
            stream_ids=[delivery.stream_id for delivery in found],
            ids=ids,
            kinds=["greet"] * len(found),
            locks=[""] * len(found),
            dirty=False,
        )
    return ids


async def test_entries_reach_their_queues_in_their_order(store, outbox):
    entries = [entry_for(f"q{n % 3}", f"t{n}") for n in range(250)]
    await store.run(outbox_append(queue_keys("home"), entries))
    relay = OutboxRelay(store, "home")

    assert await relay.run_once() == timedelta(0)
    assert await relay.run_once() == timedelta(0)
    assert await relay.run_once() > timedelta(0)

    assert await outbox() == 0
    for n in range(3):
        ids = await finish_all(store, f"q{n}")
        assert ids == [f"t{m}" for m in range(n, 250, 3)][: len(ids)]
        assert len(ids) == 84 if n == 0 else 83


async def test_a_relay_killed_between_delivery_and_clearing_delivers_once(
    store, outbox, monkeypatch
):
    """Even when the task has run and is gone before another relay finds the entry again."""
    await store.run(
        outbox_append(queue_keys("home"), [entry_for("a", "one"), entry_for("b", "two")])
    )
    async with killed_before(store, monkeypatch, "XDEL"):
        with pytest.raises(BrokerDownError):
            await OutboxRelay(store, "home").run_once()
    assert await outbox() == 2
    assert await finish_all(store, "a") == ["one"]

    await OutboxRelay(store, "home").run_once()

    assert await outbox() == 0
    assert await finish_all(store, "a") == []
    assert await finish_all(store, "b") == ["two"]


async def test_what_a_client_launched_and_could_not_deliver_is_delivered_later(
    store, outbox, monkeypatch
):
    async with killed_before(store, monkeypatch, "XRANGE"):
        await launch(store, [entry_for("home", "one"), entry_for("a", "two")])
    assert await outbox() == 2

    await OutboxRelay(store, "home").run_once()

    assert await finish_all(store, "home") == ["one"]
    assert await finish_all(store, "a") == ["two"]


@pytest.mark.parametrize(
    "fields",
    [
        ("x", "y"),
        ("queue", "Not A Queue"),
        ("queue", "a", "what", "task"),
        ("queue", "a", *(text for name in _FIELDS for text in (name, "-1"))),
        ("queue", "a", *(text for name in _FIELDS for text in (name, "1"))),
        ("queue", "a", "what", "join", *(t for name in _FIELDS[1:] for t in (name, "9" * 15))),
    ],
)
async def test_what_duly_did_not_write_is_dropped_and_holds_up_nobody(store, outbox, fields):
    await store.connection.command("XADD", queue_keys("home").outbox, "*", *fields)
    await store.run(outbox_append(queue_keys("home"), [entry_for("a", "one")]))

    await OutboxRelay(store, "home").run_once()

    assert await outbox() == 0
    assert await finish_all(store, "a") == ["one"]


async def test_several_relays_at_once_deliver_once(store, outbox):
    entries = [entry_for(f"q{n % 5}", f"t{n}") for n in range(90)]
    await store.run(outbox_append(queue_keys("home"), entries))

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(OutboxRelay(store, "home").run_once())

    assert await outbox() == 0
    ids = [task for n in range(5) for task in await finish_all(store, f"q{n}")]
    assert sorted(ids) == sorted(f"t{n}" for n in range(90))


async def test_entries_for_new_queues_that_arrive_meanwhile_are_delivered(
    store, outbox, monkeypatch
):
    """While the relay asks a target for its time, somebody appends an entry for another target."""
    home, coming = queue_keys("home"), ["b", "c"]
    await store.run(outbox_append(home, [entry_for("a", "for-a")]))
    register = store.register

    async def append_meanwhile(queue):
        if coming and queue != "home":
            name = coming.pop(0)
            await store.run(outbox_append(home, [entry_for(name, f"for-{name}")]))
        return await register(queue)

    with monkeypatch.context() as patch:
        patch.setattr(store, "register", append_meanwhile)
        await OutboxRelay(store, "home").run_once()

    assert await outbox() == 0
    assert [await finish_all(store, name) for name in "abc"] == [["for-a"], ["for-b"], ["for-c"]]


async def test_a_delivery_is_forgotten_after_a_while_and_not_while_its_entry_is_there(
    store, outbox, monkeypatch
):
    delivered = queue_keys("a").delivered
    await store.run(
        outbox_append(queue_keys("home"), [entry_for("a", "one"), entry_for("a", "two")])
    )
    async with killed_before(store, monkeypatch, "XDEL"):
        with pytest.raises(BrokerDownError):
            await OutboxRelay(store, "home").run_once()
    first, second = await store.connection.command("ZRANGE", delivered, 0, -1)
    await store.connection.command(
        "XDEL", queue_keys("home").outbox, second.decode().rpartition("/")[2]
    )
    await store.connection.command("ZADD", delivered, store.now_ms(), "not/ours")
    janitor = Janitor(store, "a")
    await janitor.run_once()
    assert await store.connection.command("ZCARD", delivered) == 3
    monkeypatch.setattr("duly.engine.maintenance.janitor._REMEMBER", timedelta(milliseconds=-1))

    await janitor.run_once()

    assert await store.connection.command("ZRANGE", delivered, 0, -1) == [first]


async def test_a_machine_whose_clock_is_off_delivers(broker_settings, store, outbox):
    """A client hears no heartbeats, so it does not know how far its clock is off the broker's."""
    late = FrozenClock(datetime.now(UTC) - timedelta(hours=1))
    async with Connection.open(broker_settings) as connection, asyncio.timeout(60):
        await launch(Store(connection, late), [entry_for("home", "one"), entry_for("a", "two")])

    assert await outbox() == 0
    assert await finish_all(store, "a") == ["two"]


@pytest.fixture
def relay(store, frozen_clock):
    return OutboxRelay(store, "home", clock=frozen_clock)


async def spoil(store, queue):
    """Make a queue refuse whatever it is brought."""
    await store.register(queue)
    keys = queue_keys(queue)
    await store.connection.command("DEL", keys.stream)
    for key in (keys.index, keys.joins):
        await store.connection.command("SET", key, "of another type")


async def mend(store, queue):
    keys = queue_keys(queue)
    await store.connection.command("DEL", keys.index)
    await store.connection.command("DEL", keys.joins)
    await store.ensure_group(keys)


async def run_to_the_end(relay):
    async with asyncio.timeout(30):
        while not (rest := await relay.run_once()):
            pass
    return rest


async def test_a_target_that_refuses_holds_up_no_other(store, outbox, relay):
    await spoil(store, "bad")
    entries = [entry_for("bad" if n % 3 else "good", f"t{n}") for n in range(450)]
    await store.run(outbox_append(queue_keys("home"), entries))

    await run_to_the_end(relay)

    assert await outbox() == 300
    assert len(await finish_all(store, "good")) == 100
    assert len(await finish_all(store, "good")) == 50


async def test_a_target_that_refuses_is_tried_again_ever_less_often(
    store, outbox, relay, frozen_clock, monkeypatch
):
    await spoil(store, "bad")
    await store.run(outbox_append(queue_keys("home"), [entry_for("bad", "one")]))
    tried, real = [], store.run

    async def count(call):
        if call.script.name == "outbox_deliver":
            tried.append(frozen_clock.monotonic())
        return await real(call)

    monkeypatch.setattr(store, "run", count)
    for _ in range(3 * 60):
        await run_to_the_end(relay)
        frozen_clock.advance(timedelta(seconds=1))

    attempts = sorted(set(tried))
    waits = [round(after - before) for before, after in pairwise(attempts)]
    assert waits[:6] == [1, 2, 4, 8, 16, 32]
    assert set(waits[6:]) <= {60}

    await mend(store, "bad")
    frozen_clock.advance(timedelta(seconds=61))
    await run_to_the_end(relay)

    assert await outbox() == 0
    assert await finish_all(store, "bad") == ["one"]


async def test_what_comes_later_for_a_target_that_refused_keeps_its_place(
    store, outbox, relay, frozen_clock
):
    await spoil(store, "bad")
    await store.run(
        outbox_append(queue_keys("home"), [entry_for("bad", f"t{n}") for n in range(120)])
    )
    await run_to_the_end(relay)
    await mend(store, "bad")
    await store.run(outbox_append(queue_keys("home"), [entry_for("bad", "last")]))
    await run_to_the_end(relay)
    assert await outbox() == 121, "it is not its time yet"
    frozen_clock.advance(timedelta(seconds=2))

    await run_to_the_end(relay)

    assert await outbox() == 0
    ids = await finish_all(store, "bad") + await finish_all(store, "bad")
    assert ids == [*(f"t{n}" for n in range(120)), "last"]


async def test_no_member_of_a_group_overtakes_its_join(store, outbox, relay, frozen_clock):
    class Send(Job, kind="send"):
        pass

    flow = group([Send(), group([Send()], then=Send())], then=step(Send(), queue="bad"))
    origin = Origin(task_id="", headers={}, now_ms=store.now_ms())
    first = list(follow(plan(flow, "f"), None, origin))
    assert [item.what for item in first] == ["join", "task", "join", "task"]
    await spoil(store, "bad")
    await store.run(outbox_append(queue_keys("home"), first))
    await store.run(outbox_append(queue_keys("home"), [entry_for("good", "other")]))

    await run_to_the_end(relay)

    assert await outbox() == 4
    assert await finish_all(store, "default") == []
    assert await finish_all(store, "good") == ["other"]

    await mend(store, "bad")
    frozen_clock.advance(timedelta(seconds=2))
    await run_to_the_end(relay)

    assert await outbox() == 0
    assert len(await finish_all(store, "default")) == 2


async def test_what_an_error_kept_from_arriving_is_brought_again(
    store, outbox, relay, frozen_clock
):
    """A script that ends in the middle has not delivered, whatever it has noted."""
    await store.register("a")
    await store.connection.command("SET", queue_keys("a").scheduled, "of another type")
    entries = [entry_for("a", "one"), entry_for("a", "two", delay_ms=1)]
    await store.run(outbox_append(queue_keys("home"), entries))
    await run_to_the_end(relay)
    assert await outbox() == 1

    await store.connection.command("DEL", queue_keys("a").scheduled)
    frozen_clock.advance(timedelta(seconds=2))
    await run_to_the_end(relay)

    assert await outbox() == 0
    scheduled = await store.connection.command("ZRANGE", queue_keys("a").scheduled, 0, -1)
    assert scheduled == [b"two"]
    assert await finish_all(store, "a") == ["one"]


async def test_an_entry_is_delivered_within_a_minute_of_the_targets_clock_or_read_again(
    store, outbox, relay
):
    """Whatever the other clocks say: the target's time is asked before the outbox is read."""
    await store.run(outbox_append(queue_keys("home"), [entry_for("a", "one")]))
    await run_to_the_end(relay)
    stale = relay._targets["a"].stamp_ms - 120_000
    relay._targets["a"].stamp_ms = stale
    await store.run(outbox_append(queue_keys("home"), [entry_for("a", "two")]))

    await relay.run_once()
    assert await outbox() == 1

    fresh = OutboxRelay(store, "home")
    await run_to_the_end(fresh)
    assert await outbox() == 0


@pytest.mark.slow
async def test_shards_whose_clocks_differ_exchange_tasks(tmp_path):
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
    if library is None:
        pytest.skip("no libfaketime: install Debian's faketime")
    cluster = RedisCluster.create(tmp_path / "cluster")
    for number, offset in ((0, "+10m"), (1, "-10m")):
        server = cluster.servers[number]
        program = tmp_path / f"valkey{number}"
        # Not the program faketime, which would be a parent that the server outlives.
        faked = f"FAKETIME={offset} LD_PRELOAD={library}"
        program.write_text(f'#!/bin/sh\n{faked} exec {server.program} "$@"\n')
        program.chmod(0o755)
        server.program = program
    with cluster:
        homes = {}
        for number in range(200):
            owner = cluster.owner(queue_keys(f"q{number}").stream)
            homes.setdefault(cluster.servers.index(owner), f"q{number}")
        queues = [homes[place] for place in range(3)]
        async with Store.open(cluster.settings()) as store, asyncio.timeout(120):
            for home in queues:
                sent = [entry_for(queue, f"{home}-{queue}") for queue in queues]
                await launch(store, sent)
            left = [
                await store.connection.command("XLEN", queue_keys(home).outbox) for home in queues
            ]
            arrived = [sorted(await finish_all(store, queue)) for queue in queues]

    assert left == [0, 0, 0]
    assert arrived == [sorted(f"{home}-{queue}" for home in queues) for queue in queues]


@pytest.mark.slow
async def test_a_shard_that_is_down_holds_up_only_what_is_for_it(tmp_path):
    with RedisCluster.create(tmp_path / "cluster") as cluster:
        homes = {}
        for number in range(200):
            owner = cluster.owner(queue_keys(f"q{number}").stream)
            homes.setdefault(cluster.servers.index(owner), f"q{number}")
        settings = cluster.settings().model_copy(update={"timeout": timedelta(seconds=2)})
        for server in cluster.servers:
            with server.client() as raw:
                raw.config_set("cluster-require-full-coverage", "no")
        async with Store.open(settings) as store, asyncio.timeout(120):
            for queue in homes.values():
                await store.register(queue)
            sent = [entry_for(homes[n % 3], f"t{n}") for n in range(30)]
            await store.run(outbox_append(queue_keys(homes[0]), sent))
            cluster.servers[1].pause()
            try:
                await run_to_the_end(OutboxRelay(store, homes[0]))
            finally:
                cluster.servers[1].resume()
            left = await store.connection.command("XLEN", queue_keys(homes[0]).outbox)
            assert left == 10
            assert len(await finish_all(store, homes[2])) == 10

            await run_to_the_end(OutboxRelay(store, homes[0]))

            assert len(await finish_all(store, homes[1])) == 10
