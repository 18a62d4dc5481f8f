"""The master changes, or a slot moves to another one, under load: client and worker follow."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from datetime import timedelta

import pytest

from duly.engine.storage.keys import queue_keys
from duly.testing.cluster import RedisCluster
from duly.testing.history import What
from duly.testing.topologies import SentinelCluster
from duly.testing.waiting import until

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
LAG = 1.0
"""Seconds by which a replica may be behind, on a machine under load."""


class Losses:
    """The periods in which a master was lost: a replica may have missed what was written then."""

    def __init__(self, floor):
        self._floor, self._periods = floor, []

    @contextlib.contextmanager
    def period(self):
        """Note that a master is lost in the body of a `with`."""
        begin = time.time()
        yield
        self._periods.append((begin - LAG, time.time() + LAG))
        self._floor.measured.faults += 1

    async def recovered(self):
        """Wait until a task that is accepted from now on has ended; note the longest pause."""
        begin, now = self._periods[-1][0] + LAG, time.time()
        await until(lambda: self._has_ended(since=now), timeout=90, what="a task ends again")
        times = [each.at for each in self._floor.events(What.END) if each.at > begin]
        pauses = (after - before for before, after in itertools.pairwise([begin, *times]))
        self._floor.measured.recovered.append(max(pauses))

    def _has_ended(self, since):
        events = self._floor.events()
        fresh = {each.task for each in events if each.what is What.ENQUEUED and each.at > since}
        return any(each.what is What.END and each.task in fresh for each in events)

    def explain(self, found):
        """Check that whatever is lost, or ran twice, was accepted or settled in such a period."""
        accepted = {each.task: each.at for each in self._floor.events(What.ENQUEUED)}
        assert [task for task in found.lost if not self._cover(accepted[task])] == []
        ends = {}
        for event in self._floor.events(What.END):
            ends.setdefault(event.task, event.at)
        starts = Counter(each.task for each in self._floor.events(What.START))
        again = [task for task, count in starts.items() if count > 1]
        # What was settled just before, or was handed out, runs again; what failed has not ended.
        assert [task for task in again if not self._cover(ends[task])] == []

    def _cover(self, at):
        return any(begin <= at <= end for begin, end in self._periods)


@pytest.mark.fault("master killed")
async def test_a_failover_by_sentinel_is_followed_and_loses_only_what_was_not_replicated(
    tmp_path, open_floor, enqueuing
):
    with SentinelCluster.create(tmp_path / "sentinel") as brokers:
        async with open_floor(brokers.settings()) as floor:
            workers = [floor.worker(name) for name in ("a", "b")]
            await floor.ready(2)
            # The first sentinel is down as well, as when a machine is lost that had both.
            brokers.sentinels[0].kill9()

            async with enqueuing(floor, seconds=0.02):
                await floor.happened(What.END, 30)
                killed, losses = brokers.master(), Losses(floor)
                with losses.period():
                    killed.kill9()
                await losses.recovered()
                await floor.happened(What.END, floor.count(What.END) + 50)

            await floor.idle()
            found = await floor.verdict(most_effects=2)
            assert brokers.master() is not killed
            assert [worker.stop() for worker in workers] == [0, 0]

    assert not found.doubled
    assert not found.unexpected
    losses.explain(found)


@pytest.mark.fault("master killed")
async def test_with_wait_nothing_that_was_replicated_is_lost(tmp_path, open_floor):
    with SentinelCluster.create(tmp_path / "sentinel") as brokers:
        async with open_floor(brokers.settings()) as floor:
            await floor.enqueue(200)
            with brokers.master().client(timeout_seconds=90) as client:
                assert client.wait(1, 60_000) == 1
            await asyncio.to_thread(brokers.fail_over)

            floor.worker("worker")
            await floor.happened(What.END, 200)
            await floor.idle()
            found = await floor.verdict()

    assert found.good, found
    assert found.starts == 200


@pytest.mark.fault("slot moves")
async def test_a_queue_whose_slot_moves_to_another_master_is_followed(
    tmp_path, open_floor, enqueuing
):
    with RedisCluster.create(tmp_path / "cluster") as cluster:
        async with open_floor(cluster.settings()) as floor:
            worker = floor.worker("worker")
            await floor.ready()

            async with enqueuing(floor, seconds=0.02):
                for number in range(1, 4):
                    await floor.happened(What.END, 30 * number)
                    await asyncio.to_thread(cluster.move_slot, queue_keys("default").stream)
                    floor.measured.faults += 1

            await floor.idle()
            found = await floor.verdict()
            assert worker.stop() == 0

    assert found.good, found
    assert found.starts == found.finished >= 90


@pytest.mark.fault("master killed")
async def test_a_master_of_a_cluster_is_killed_and_its_replica_takes_over(
    tmp_path, open_floor, enqueuing
):
    with RedisCluster.create(tmp_path / "cluster", replicas=1) as cluster:
        async with open_floor(cluster.settings()) as floor:
            worker = floor.worker("worker")
            await floor.ready()

            async with enqueuing(floor, seconds=0.02):
                await floor.happened(What.END, 30)
                owner, losses = cluster.owner(queue_keys("default").stream), Losses(floor)
                with losses.period():
                    owner.kill9()
                await losses.recovered()
                await floor.happened(What.END, floor.count(What.END) + 50)

            await floor.idle()
            found = await floor.verdict(most_effects=2)
            assert worker.stop() == 0

    assert not found.doubled
    losses.explain(found)


@pytest.mark.fault("slot moves")
async def test_a_restarted_master_of_a_cluster_is_waited_for(tmp_path, open_floor, enqueuing):
    with RedisCluster.create(tmp_path / "cluster", durable=True) as cluster:
        async with open_floor(cluster.settings()) as floor:
            worker = floor.worker("worker")
            await floor.ready()
            owner = cluster.owner(queue_keys("default").stream)

            async with enqueuing(floor, seconds=0.02):
                await floor.happened(What.END, 20)
                owner.stop()
                await until(lambda: floor.count(What.UNCERTAIN))
                owner.start()
                await floor.happened(What.END, 60)

            await floor.idle()
            found = await floor.verdict()
            assert worker.stop() == 0

    assert found.good, found


@pytest.mark.fault("planned failover")
async def test_planned_failovers_under_load_lose_the_replicas_lag_at_most(
    tmp_path, open_floor, enqueuing, rounds
):
    with SentinelCluster.create(tmp_path / "sentinel", replicas=1) as brokers:
        settings = brokers.settings().model_copy(update={"timeout": timedelta(seconds=2)})
        async with open_floor(settings) as floor:
            # Shorter than the test, and longer than any stall of a machine under load.
            workers = [floor.worker(name, lease_seconds=4) for name in ("a", "b")]
            await floor.ready(2)
            losses = Losses(floor)

            async with enqueuing(floor, every=0.005):
                for _ in range(rounds(3)):
                    await floor.happened(What.END, floor.count(What.END) + 30)
                    await until(brokers.followed, what="the replica follows")
                    with losses.period():
                        await asyncio.to_thread(brokers.hand_over)
                    await losses.recovered()
                await floor.happened(What.END, floor.count(What.END) + 50)

            await floor.idle()
            found = await floor.verdict(most_effects=2)
            assert [worker.stop() for worker in workers] == [0, 0]

    assert not found.doubled
    losses.explain(found)
    assert all(seconds < LAG for seconds in _runs(floor, found.lost)), found


def _runs(floor, lost):
    """Return over how many seconds each unbroken run of lost tasks was accepted."""
    accepted = floor.events(What.ENQUEUED)
    for gone, run in itertools.groupby(accepted, lambda event: event.task in set(lost)):
        if gone:
            times = [event.at for event in run]
            yield times[-1] - times[0]
