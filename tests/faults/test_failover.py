"""The master changes, or a slot moves to another one, under load: client and worker follow."""

import asyncio
import time

import pytest

from duly.engine.keys import queue_keys
from duly.testing.cluster import RedisCluster
from duly.testing.history import What
from duly.testing.topologies import SentinelCluster
from duly.testing.waiting import until

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
LAG = 1.0
"""Seconds before the kill in which what was accepted may not have reached the replica."""


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
                killed = brokers.master()
                kill_from = time.time()
                killed.kill9()
                floor.history.add(What.KILLED, "master")
                before = floor.count(What.END)
                await floor.happened(What.END, before + 50)

            await floor.idle()
            found = await floor.verdict(most_effects=2)
            (kill,) = floor.events(What.KILLED)
            accepted = {event.task: event.at for event in floor.events(What.ENQUEUED)}
            assert brokers.master() is not killed
            assert [worker.stop() for worker in workers] == [0, 0]

    assert not found.doubled
    assert not found.strangers
    assert len(found.lost) <= 5, found
    assert all(kill_from - LAG < accepted[task] <= kill.at + 0.1 for task in found.lost)
    # Without a failover nothing runs twice; after one, what was settled just before may.
    assert found.starts - found.accepted <= 20


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

            await floor.idle()
            found = await floor.verdict()
            assert worker.stop() == 0

    assert found.good, found
    assert found.starts == found.finished >= 90


async def test_a_master_of_a_cluster_is_killed_and_its_replica_takes_over(
    tmp_path, open_floor, enqueuing
):
    with RedisCluster.create(tmp_path / "cluster", replicas=1) as cluster:
        async with open_floor(cluster.settings()) as floor:
            worker = floor.worker("worker")
            await floor.ready()

            async with enqueuing(floor, seconds=0.02):
                await floor.happened(What.END, 30)
                owner = cluster.owner(queue_keys("default").stream)
                kill_from = time.time()
                owner.kill9()
                floor.history.add(What.KILLED, "master")
                before = floor.count(What.END)
                await floor.happened(What.END, before + 50)

            await floor.idle()
            found = await floor.verdict(most_effects=2)
            (kill,) = floor.events(What.KILLED)
            accepted = {event.task: event.at for event in floor.events(What.ENQUEUED)}
            assert worker.stop() == 0

    assert not found.doubled
    assert len(found.lost) <= 5, found
    assert all(kill_from - LAG < accepted[task] <= kill.at + 0.1 for task in found.lost)


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
