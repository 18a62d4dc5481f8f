"""A planned failover is followed at once, and nothing is written to the old master meanwhile."""

import asyncio
import contextlib
import itertools
import threading
import time
from datetime import timedelta

import pytest
from redis import exceptions

from duly.engine.enqueue.blocking_client import BlockingClient
from duly.engine.storage.keys import queue_keys
from duly.engine.transport.connection import Connection
from duly.engine.transport.sentinel import _LONGEST_PROMOTION, _is_about
from duly.errors import BrokerDownError
from duly.jobs import CheckPendingOrders
from duly.testing.topologies import MASTER, SentinelCluster
from duly.testing.waiting import NotInTimeError, until

pytestmark = pytest.mark.timeout(300)
LAG = 0.5
"""Seconds by which a replica may be behind while it waits for its turn on a machine under load."""


@pytest.fixture
def sentinels(tmp_path):
    """A master, two replicas and three sentinels of this test alone."""
    with SentinelCluster.create(tmp_path / "sentinel", replicas=2) as sentinels:
        yield sentinels


@pytest.mark.parametrize(
    ("message", "about"),
    [
        ("master duly 127.0.0.1 6379", True),
        ("master other 127.0.0.1 6379", False),
        ("slave 127.0.0.1:1 127.0.0.1 1 @ duly 127.0.0.1 2", True),
        ("slave 127.0.0.1:1 127.0.0.1 1 @ other 127.0.0.1 2", False),
        ("duly 127.0.0.1 1 127.0.0.1 2", True),
        ("other 127.0.0.1 1 127.0.0.1 2", False),
        ("", False),
    ],
)
def test_a_message_is_about_one_master(message, about):
    assert _is_about(MASTER, message) is about


class Writer:
    """Adds one number after the other to a set, and notes when each was accepted."""

    def __init__(self, connection, now):
        self._connection, self._now, self._ended = connection, now, asyncio.Event()
        self.accepted, self.left = {}, []
        connection.endpoints._sentinels._on_moved = self._leave

    def _leave(self):
        self.left.append(self._now())
        self._connection.leave()

    async def run(self):
        number = 0
        while not self._ended.is_set():
            number += 1
            try:
                await self._connection.command("SADD", "accepted", number)
            except BrokerDownError:
                await asyncio.sleep(0.01)
            else:
                self.accepted[number] = self._now()

    def end(self):
        self._ended.set()

    def losses(self, master):
        """Return (begin, end, next) of each run of numbers that the master has not.

        They are the times at which the first, the last, and the first one after them was accepted.
        """
        with master.client() as client:
            kept = {int(number) for number in client.smembers("accepted")}
        found = []
        for here, numbers in itertools.groupby(self.accepted, lambda number: number in kept):
            times = [self.accepted[number] for number in numbers]
            if here and found:
                found[-1].append(times[0])
            elif not here:
                found.append([times[0], times[-1]])
        return found


@contextlib.asynccontextmanager
async def writing(sentinels, now=time.monotonic):
    """Write for the body of an `async with`, as fast as the master answers."""
    settings = sentinels.settings().model_copy(update={"timeout": timedelta(seconds=2)})
    async with Connection.open(settings) as connection, asyncio.TaskGroup() as group:
        writer = Writer(connection, now)
        group.create_task(writer.run())
        await until(lambda: writer.accepted)
        await until(sentinels.followed)
        yield writer
        writer.end()


@pytest.mark.fault("planned failover")
@pytest.mark.slow
async def test_a_planned_failover_loses_no_more_than_the_last_moment_before_the_master_is_left(
    sentinels, stopwatch
):
    async with writing(sentinels, now=stopwatch) as writer:
        for number in range(1, 4):
            await asyncio.to_thread(sentinels.hand_over)
            await until(lambda number=number: len(writer.accepted) > 500 * number)
            # A replica that has not caught up yet must not be the next master.
            await until(sentinels.followed)

    for begin, end, then in writer.losses(sentinels.master()):
        assert any(end <= left <= then for left in writer.left), "what came after it is kept"
        # Clients that wait until the sentinels name another master lose 0.8 s, those that do not
        # listen to them 1.7 s.
        assert end - begin < LAG


@pytest.mark.fault("planned failover")
async def test_a_master_is_left_before_its_replica_is_promoted(tmp_path):
    with SentinelCluster.create(tmp_path / "sentinel", down_after_ms=30_000) as sentinels:
        old, replica = sentinels.servers
        async with writing(sentinels) as writer:
            hung = await _hang_while_promoted(sentinels, replica)
            await until(lambda: writer.left)
            left, count = writer.left[0], len(writer.accepted)
            await until(lambda: time.monotonic() > left + 0.5)
            in_time = time.monotonic() < left + _LONGEST_PROMOTION / 2
            assert len(writer.accepted) == count or not in_time, "nothing is written meanwhile"
            replica.resume()
            if not await _taken_over(sentinels, old):
                await asyncio.to_thread(sentinels.hand_over)
            await until(lambda: len(writer.accepted) > count)

        losses = writer.losses(replica)
    # Without that, a client goes on until the promotion has ended, and loses all of it.
    assert all(hung - LAG < begin and end <= left for begin, end, _ in losses)


async def _taken_over(sentinels, old):
    """Tell whether another server is the master; under load the sentinels may give it up."""
    with contextlib.suppress(NotInTimeError):
        await until(lambda: sentinels.master() is not old, timeout=15)
    return sentinels.master() is not old


def _asked(client):
    with contextlib.suppress(exceptions.RedisError):  # no replica is good
        return client.execute_command("SENTINEL FAILOVER", MASTER)
    return False


async def _hang_while_promoted(sentinels, replica):
    """Have the sentinels promote a replica that hangs; return since when it does."""
    with sentinels.sentinels[0].client() as client:
        while True:
            hung = time.monotonic()
            replica.pause()
            if _asked(client):
                return hung
            replica.resume()
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_an_idle_connection_leaves_the_old_master(sentinels):
    async with Connection.open(sentinels.settings()) as connection:
        await connection.command("SET", "a", "1")
        old = sentinels.master()
        left = asyncio.Event()
        connection.endpoints._sentinels._on_moved = lambda: (left.set(), connection.leave())

        await asyncio.to_thread(sentinels.hand_over)
        await until(left.is_set)

        async def written():
            with contextlib.suppress(BrokerDownError):
                return await connection.command("SET", "a", "2")

        await until(written)
        await until(sentinels.followed)
        with old.client() as client:
            assert client.get("a") == "2"


async def test_a_sentinel_that_hangs_holds_nobody_up(sentinels, stopwatch):
    sentinels.sentinels[0].pause()
    settings = sentinels.settings().model_copy(update={"timeout": timedelta(seconds=2)})
    async with Connection.open(settings) as connection:
        begin = stopwatch()
        await connection.command("PING")
        assert stopwatch() - begin < 1


async def test_a_sentinel_that_does_not_answer_is_named_as_the_cause(sentinels):
    for sentinel in sentinels.sentinels:
        sentinel.pause()
    settings = sentinels.settings().model_copy(update={"timeout": timedelta(seconds=1)})
    async with Connection.open(settings) as connection:
        with pytest.raises(BrokerDownError, match="no sentinel answered"):
            await connection.command("PING")


@pytest.mark.slow
async def test_without_a_loop_planned_failovers_are_followed_too(sentinels):
    """Two threads enqueue; the connection of a third is idle when the master changes."""
    settings = sentinels.settings().model_copy(update={"timeout": timedelta(seconds=2)})
    accepted, ended = [], threading.Event()

    def enqueue(client):
        while not ended.is_set():
            with contextlib.suppress(BrokerDownError):
                accepted.append(client.enqueue(CheckPendingOrders()).id)

    with BlockingClient(settings) as client:
        await asyncio.to_thread(client.enqueue, CheckPendingOrders(), queue="low")
        await until(sentinels.followed)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(asyncio.to_thread(enqueue, client))
            await asyncio.to_thread(sentinels.hand_over)
            before = len(accepted)
            await until(lambda: len(accepted) > before + 300)
            ended.set()
        await asyncio.to_thread(client.enqueue, CheckPendingOrders(), queue="low")

    with sentinels.master().client() as direct:
        kept = set(direct.hkeys(queue_keys("default").index))
        assert direct.xlen(queue_keys("low").stream) == 2
    assert set(accepted[-200:]) <= kept, "they write to the new master"
