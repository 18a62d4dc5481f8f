"""The broker's machine loses power: the end of its append-only file is gone, nothing is stuck."""

import contextlib
import os
import time
from datetime import timedelta

import pytest

from duly.testing.history import What
from duly.testing.topologies import SentinelCluster
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)
LEASE = 3.0
QUEUES = {"default": 1, "low": 1}
UNSYNCED_SECONDS = 1.0
"""How much `appendfsync everysec` leaves to the operating system."""
LAG = 1.0
"""Seconds by which a replica may be behind, on a machine under load."""
CUTS = {"a torn record": 0.0, "half of it": 0.5, "all of it": 1.0}
"""What is lost of that second's writes; a few bytes more go, so that a record is torn."""


def log_file(server):
    """Return the append-only file that the server writes."""
    return max(server.folder.glob("appendonlydir/*.incr.aof"))


async def written(server):
    """Return an instant, and the size of the file that holds all that was accepted before it."""

    def whole():
        with server.client() as client:
            at, buffered = time.time(), client.info("persistence")["aof_buffer_length"]
        return (at, log_file(server).stat().st_size) if buffered == 0 else None

    return await until(whole, timeout=60, what="every write is in the file")


async def lose_power(server, measured, *, cut):
    """Kill the server and the last second of its file; return the instant that it goes back to."""
    since, kept = await written(server)
    await until(lambda: time.time() - since >= UNSYNCED_SECONDS, what="one second")
    server.kill9()
    measured.faults += 1
    size = log_file(server).stat().st_size
    assert size > kept, "it wrote meanwhile"
    os.truncate(log_file(server), max(kept, size - int(cut * (size - kept)) - 7))
    return since


@pytest.mark.fault("power loss")
async def test_a_master_with_a_replica_that_loses_power_costs_the_replicas_lag_only(
    tmp_path, open_floor, enqueuing
):
    """Its file is cut short, and it returns as a replica: what it lost, the new master has."""
    with SentinelCluster.create(tmp_path / "sentinel", durable=True) as brokers:
        async with open_floor(brokers.settings()) as floor:
            workers = [floor.worker(name) for name in "ab"]
            await floor.ready(2)

            async with enqueuing(floor, seconds=0.02):
                await floor.happened(What.END, 30)
                await until(brokers.followed, what="the replica follows")
                old = brokers.master()
                lost_since = time.time() - LAG
                await lose_power(old, floor.measured, cut=1.0)
                lost_until = time.time() + LAG
                await until(lambda: brokers.master() is not old, timeout=60)
                old.start()
                await until(brokers.followed, timeout=60, what="the old master follows")
                await floor.happened(What.END, floor.count(What.END) + 30)

            await floor.idle()
            found = await floor.verdict(most_effects=2)
            assert [worker.stop() for worker in workers] == [0, 0]

    accepted = {event.task: event.at for event in floor.events(What.ENQUEUED)}
    assert [task for task in found.lost if not lost_since < accepted[task] < lost_until] == []
    assert not found.doubled


@pytest.mark.fault("power loss")
@pytest.mark.parametrize("workers", ["live", "die"])
@pytest.mark.parametrize("cut", CUTS)
async def test_a_power_loss_costs_the_last_second_at_most_and_leaves_nothing_stuck(
    floor, own_server, enqueuing, cut, workers
):
    names = [floor.worker(name, lease_seconds=LEASE, queues=QUEUES) for name in "ab"]
    await floor.ready(2)
    await floor.enqueue(2, held=True)
    delay = timedelta(seconds=0.7)

    async with contextlib.AsyncExitStack() as load:
        await load.enter_async_context(enqueuing(seconds=0.05))
        await load.enter_async_context(enqueuing(failures=1, queue="low", every=0.03))
        await load.enter_async_context(enqueuing(delay=delay, every=0.03))
        await floor.happened(What.END, 50)
        back_to = await lose_power(own_server, floor.measured, cut=CUTS[cut])
        if workers == "die":
            for worker in names:
                worker.kill9()
            names = [floor.worker(name, lease_seconds=LEASE, queues=QUEUES) for name in "cd"]
        own_server.start()
        await floor.happened(What.ENQUEUED, floor.count(What.ENQUEUED) + 20)

    floor.go()
    for queue in QUEUES:
        await floor.idle(queue)
    # What was rewound may run once more, and what a dead worker ran as well.
    found = await floor.verdict(most_effects=2 if workers == "live" else 3)
    assert not found.doubled
    accepted = {event.task: event.at for event in floor.events(What.ENQUEUED)}
    assert [task for task in found.lost if accepted[task] < back_to] == []
    for queue in QUEUES:
        assert (await floor.inspector.queues.get(queue)).quarantined == 0
    assert [worker.stop() for worker in names] == [0, 0]
