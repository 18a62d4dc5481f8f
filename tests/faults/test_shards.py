"""One master of several is lost, for longer than a lease: each queue is judged by its own node."""

import asyncio
from datetime import timedelta

import pytest

from duly.engine.storage.keys import QUEUES, queue_keys
from duly.testing.cluster import RedisCluster
from duly.testing.history import What
from duly.testing.waiting import until

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
LEASE_SECONDS = 2


def queues_on_two_nodes(cluster, apart_from=None):
    """Return the names of two queues on different masters, the first not on that of a key."""
    names = [f"queue-{number}" for number in range(100)]
    owners = {name: cluster.owner(queue_keys(name).stream) for name in names}
    taken = cluster.owner(apart_from) if apart_from else None
    first = next(name for name in names if owners[name] is not taken)
    return first, next(name for name in names if owners[name] is not owners[first])


@pytest.mark.fault("shard lost")
@pytest.mark.parametrize("fault", ["kill9", "pause"])
async def test_a_failover_of_one_shard_is_followed_and_the_other_goes_on(
    tmp_path, open_floor, fault
):
    with RedisCluster.create(tmp_path / "cluster", replicas=1, node_timeout_ms=4_000) as cluster:
        lost_queue, other = queues_on_two_nodes(cluster)
        for server in cluster.servers + cluster.replicas:
            with server.client() as client:
                client.config_set("cluster-require-full-coverage", "no")
        settings = cluster.settings().model_copy(update={"timeout": timedelta(seconds=1)})
        async with open_floor(settings) as floor:
            worker = floor.worker(
                "worker",
                lease_seconds=LEASE_SECONDS,
                queues={lost_queue: 1, other: 1},
                concurrency=8,
            )
            await floor.ready(queue=lost_queue)
            await floor.ready(queue=other)
            await floor.enqueue(1, held=True, queue=other)
            await floor.happened(What.START, 1)

            getattr(cluster.owner(queue_keys(lost_queue).stream), fault)()
            # The healthy queue works all the while, and keeps the lease of what runs.
            for number in range(1, 20):
                await floor.enqueue(1, queue=other)
                await floor.happened(What.END, number)
                await asyncio.sleep(0.2)
            assert floor.count(What.REFUSED) == 0

            async def enqueued():
                before = floor.count(What.ENQUEUED)
                await floor.enqueue(1, queue=lost_queue)
                return floor.count(What.ENQUEUED) > before

            await until(enqueued, timeout=60)
            ended = floor.count(What.END)
            await floor.enqueue(12, queue=lost_queue)
            await until(lambda: floor.count(What.END) >= ended + 12)
            floor.go()
            await floor.idle(other)
            assert worker.stop() == 0

    starts = [event.task for event in floor.events(What.START)]
    held = floor.accepted[0]
    assert starts.count(held) == 1


@pytest.mark.fault("shard lost")
@pytest.mark.parametrize("fault", ["kill9", "pause"])
async def test_a_worker_starts_although_one_shard_is_down(tmp_path, open_floor, fault):
    with RedisCluster.create(tmp_path / "cluster", node_timeout_ms=2_000) as cluster:
        lost_queue, other = queues_on_two_nodes(cluster, apart_from=QUEUES)
        for server in cluster.servers:
            with server.client() as client:
                client.config_set("cluster-require-full-coverage", "no")
        settings = cluster.settings().model_copy(update={"timeout": timedelta(seconds=1)})
        async with open_floor(settings) as floor:
            await floor.enqueue(1, queue=lost_queue)
            lost = cluster.owner(queue_keys(lost_queue).stream)
            getattr(lost, fault)()
            # The address that a worker begins with is that of a node which stands.
            address = next(server for server in cluster.servers if server is not lost)
            redis = settings.model_copy(update={"port": address.port}).model_dump(mode="json")

            worker = floor.worker(
                "worker",
                redis=redis,
                lease_seconds=LEASE_SECONDS,
                queues={lost_queue: 1, other: 1},
            )
            await floor.enqueue(5, queue=other)
            await floor.happened(What.END, 5)
            assert worker.stop() == 0
