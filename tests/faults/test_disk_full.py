"""The disk of the append-only file is full: writes are refused, and resume when there is room."""

import asyncio
import contextlib
import resource
import time
from itertools import count

import pytest

from duly.errors import BrokerWriteError
from duly.testing.history import What
from duly.testing.servers import BrokerServer, valkey_program
from duly.testing.topologies import SentinelCluster
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)
LEASE = 2.0
QUEUES = {"default": 1, "low": 1}
UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def program(tmp_path):
    """A Valkey that survives a limit on the size of its files."""
    program = tmp_path / "server"
    program.write_text(f'#!/bin/sh\ntrap "" XFSZ\nexec {valkey_program()} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def limited_server(tmp_path, program):
    with BrokerServer(program=program, folder=tmp_path / "broker", durable=True) as server:
        yield server


def limit(server, size):
    """Let no file of a server grow beyond a size in bytes."""
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, UNLIMITED))


def log_size(server):
    """Return the size of the append-only file."""
    return max(each.stat().st_size for each in server.folder.glob("appendonlydir/*.incr.aof"))


async def filled(floor):
    """Enqueue until it is refused; return the error's text, and note what was accepted."""
    numbers = count()

    async def refused():
        task_id = f"fill{next(numbers)}"
        try:
            await floor.client.enqueue(floor.job(), task_id=task_id)
        except BrokerWriteError as error:
            return str(error)
        floor.history.add(What.ENQUEUED, task_id)
        return None

    return await until(refused, timeout=90, what="an enqueue is refused")


async def takes_writes(floor):
    """Wait until an enqueue is accepted again."""

    async def accepted():
        with contextlib.suppress(BrokerWriteError):
            await floor.client.enqueue(floor.job(), task_id="again")
            floor.history.add(What.ENQUEUED, "again")
            return True

    await until(accepted, timeout=90, what="an enqueue is accepted")


@pytest.mark.fault("disk full")
async def test_a_full_disk_refuses_writes_and_loses_nothing_that_was_accepted(
    limited_server, open_floor
):
    async with open_floor(limited_server.settings()) as floor:
        workers = [floor.worker(name, lease_seconds=LEASE, queues=QUEUES) for name in "ab"]
        await floor.ready(2)
        await floor.enqueue(20)
        await floor.enqueue(2, failures=1)
        await floor.enqueue(4, held=True, queue="low")
        await floor.enqueue(2, held=True)
        await floor.happened(What.END, 22)

        limit(limited_server, log_size(limited_server) + 4096)
        floor.measured.faults += 1
        assert "refuses writes" in await filled(floor)
        for worker in workers:
            worker.said("Broker unreachable")
        # What runs ends meanwhile; no outcome can be written for three leases.
        floor.go()
        await floor.happened(What.END, 28)
        over = time.monotonic() + 3 * LEASE
        await until(lambda: time.monotonic() > over, timeout=90, what="three leases are over")
        limit(limited_server, UNLIMITED)

        await takes_writes(floor)
        await floor.enqueue(10)
        await floor.enqueue(10, queue="low")
        reports = await at_rest(floor)
        assert [(report.crashed, report.quarantined) for report in reports] == [(0, 0)] * 2
        found = await floor.verdict(most_effects=1)
        assert found.good, found
        assert [worker.stop() for worker in workers] == [0, 0]

        # The file is whole: what was accepted before, while and after it was full is in it.
        limited_server.kill9()
        limited_server.start()
        kept = await at_rest(floor)
        assert [report.processed for report in kept] == [report.processed for report in reports]


@pytest.mark.fault("disk full")
async def test_a_master_whose_disk_is_full_is_replaced_by_a_planned_failover(
    tmp_path, program, open_floor
):
    """It answers, so the sentinels keep it; the replica has all that it confirmed."""
    with SentinelCluster.create(tmp_path / "sentinel", durable=True, program=program) as brokers:
        async with open_floor(brokers.settings()) as floor:
            worker = floor.worker("worker", queues=QUEUES, concurrency=8)
            await floor.ready()
            await floor.enqueue(20)
            await floor.enqueue(4, held=True, queue="low")
            await floor.happened(What.END, 20)

            full = brokers.master()
            limit(full, log_size(full) + 4096)
            assert "refuses writes" in await filled(floor)
            assert brokers.master() is full
            await asyncio.to_thread(brokers.hand_over)
            floor.measured.faults += 1
            await takes_writes(floor)
            floor.go()

            reports = await at_rest(floor)
            assert [(report.crashed, report.quarantined) for report in reports] == [(0, 0)] * 2
            found = await floor.verdict()
            assert worker.stop() == 0

    assert found.good, found


async def at_rest(floor):
    """Return what the inspector reports of each queue once nothing is left to do."""
    for queue in QUEUES:
        await floor.idle(queue)
    return [await floor.inspector.queues.get(queue) for queue in QUEUES]
