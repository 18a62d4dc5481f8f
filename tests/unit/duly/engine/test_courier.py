import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.chores.janitor import Janitor
from duly.engine.connection import Connection
from duly.engine.courier import _FIELDS, Courier, launch
from duly.engine.keys import queue_keys
from duly.engine.scripts import Successor, post
from duly.engine.store import Store
from duly.errors import BrokerDownError
from duly.testing.clock import FrozenClock


def letter(queue, task_id, **options):
    data = b'{"task_id":"%s","task_name":"greet"}' % task_id.encode()
    return Successor("task", queue, id=task_id, data=data, **options)


@pytest.fixture
async def store(store):
    await store.register("home")
    return store


@pytest.fixture
def outbox(store):
    """Return the number of letters in the outbox of `home`."""

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
        await store.finish(
            queue,
            entries=[delivery.entry for delivery in found],
            ids=ids,
            kinds=["greet"] * len(found),
            locks=[""] * len(found),
            dirty=False,
        )
    return ids


async def test_letters_reach_their_queues_in_their_order(store, outbox):
    letters = [letter(f"q{n % 3}", f"t{n}") for n in range(250)]
    await store.run(post(queue_keys("home"), letters))
    courier = Courier(store, "home")

    assert await courier.turn() == timedelta(0)
    assert await courier.turn() == timedelta(0)
    assert await courier.turn() > timedelta(0)

    assert await outbox() == 0
    for n in range(3):
        ids = await finish_all(store, f"q{n}")
        assert ids == [f"t{m}" for m in range(n, 250, 3)][: len(ids)]
        assert len(ids) == 84 if n == 0 else 83


async def test_a_courier_killed_between_delivery_and_clearing_delivers_once(
    store, outbox, monkeypatch
):
    """Even when the task has run and is gone before another courier finds the letter again."""
    await store.run(post(queue_keys("home"), [letter("a", "one"), letter("b", "two")]))
    async with killed_before(store, monkeypatch, "XDEL"):
        with pytest.raises(BrokerDownError):
            await Courier(store, "home").turn()
    assert await outbox() == 2
    assert await finish_all(store, "a") == ["one"]

    await Courier(store, "home").turn()

    assert await outbox() == 0
    assert await finish_all(store, "a") == []
    assert await finish_all(store, "b") == ["two"]


async def test_what_a_client_launched_and_could_not_deliver_is_delivered_later(
    store, outbox, monkeypatch
):
    async with killed_before(store, monkeypatch, "XRANGE"):
        await launch(store, [letter("home", "one"), letter("a", "two")])
    assert await outbox() == 2

    await Courier(store, "home").turn()

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
async def test_what_is_not_ours_is_dropped_and_holds_up_nobody(store, outbox, fields):
    await store.connection.command("XADD", queue_keys("home").outbox, "*", *fields)
    await store.run(post(queue_keys("home"), [letter("a", "one")]))

    await Courier(store, "home").turn()

    assert await outbox() == 0
    assert await finish_all(store, "a") == ["one"]


async def test_several_couriers_at_once_deliver_once(store, outbox):
    await store.run(post(queue_keys("home"), [letter(f"q{n % 5}", f"t{n}") for n in range(90)]))

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(Courier(store, "home").turn())

    assert await outbox() == 0
    ids = [task for n in range(5) for task in await finish_all(store, f"q{n}")]
    assert sorted(ids) == sorted(f"t{n}" for n in range(90))


async def test_a_delivery_is_forgotten_after_a_while_and_not_while_its_letter_is_there(
    store, outbox, monkeypatch
):
    delivered = queue_keys("a").delivered
    await store.run(post(queue_keys("home"), [letter("a", "one"), letter("a", "two")]))
    async with killed_before(store, monkeypatch, "XDEL"):
        with pytest.raises(BrokerDownError):
            await Courier(store, "home").turn()
    first, second = await store.connection.command("ZRANGE", delivered, 0, -1)
    await store.connection.command(
        "XDEL", queue_keys("home").outbox, second.decode().rpartition("/")[2]
    )
    await store.connection.command("ZADD", delivered, store.now_ms(), "not/ours")
    janitor = Janitor(store, "a")
    await janitor.turn()
    assert await store.connection.command("ZCARD", delivered) == 3
    monkeypatch.setattr("duly.engine.chores.janitor._REMEMBER", timedelta(milliseconds=-1))

    await janitor.turn()

    assert await store.connection.command("ZRANGE", delivered, 0, -1) == [first]


async def test_a_machine_whose_clock_is_off_delivers(broker_settings, store, outbox):
    """A client hears no heartbeats, so it does not know how far its clock is off the broker's."""
    late = FrozenClock(datetime.now(UTC) - timedelta(hours=1))
    async with Connection.open(broker_settings) as connection, asyncio.timeout(60):
        await launch(Store(connection, late), [letter("home", "one"), letter("a", "two")])

    assert await outbox() == 0
    assert await finish_all(store, "a") == ["two"]
