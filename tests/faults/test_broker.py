"""The broker restarts, hangs, dies, forgets or is full: nothing accepted is lost for that."""

import asyncio
import contextlib
import time

import pytest

from duly.errors import BrokerDownError, BrokerError, NotFoundError
from duly.runtime.settings import RedisSettings
from duly.testing.history import What
from duly.testing.servers import BrokerServer
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)


@pytest.mark.fault("broker restarts")
async def test_running_tasks_go_on_while_the_broker_restarts(floor, own_server):
    worker = floor.worker("worker", concurrency=3)
    await floor.enqueue(3, seconds=2)
    await floor.enqueue(10)
    await floor.happened(What.START, 3)

    own_server.stop()
    floor.measured.faults += 1
    worker.said("Broker unreachable")
    own_server.start()

    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert (found.finished, found.starts) == (13, 13), "none began again"


@pytest.mark.fault("broker restarts")
async def test_a_worker_with_no_free_slot_reports_that_the_broker_is_unreachable(floor, own_server):
    worker = floor.worker("worker", concurrency=1, lease_seconds=10)
    await floor.enqueue(1, held=True)
    await floor.happened(What.START, 1)

    own_server.stop()
    floor.measured.faults += 1
    worker.said("Broker unreachable")
    assert floor.count(What.END) == 0
    own_server.start()

    worker.said("Broker reachable again")
    floor.go()
    await floor.idle()
    found = await floor.verdict()
    assert found.good, found


@pytest.fixture
async def hasty_floor(own_server, open_floor):
    """The floor, where nobody waits longer for a reply than the default."""
    settings = own_server.settings().model_copy(update={"timeout": RedisSettings().timeout})
    async with open_floor(settings) as floor:
        yield floor


@pytest.mark.fault("broker hangs")
async def test_a_broker_that_hangs_costs_producers_two_seconds_and_tasks_nothing(
    hasty_floor, own_server, stopwatch
):
    floor = hasty_floor
    floor.worker("worker")
    await floor.enqueue(2, seconds=3)
    await floor.happened(What.START, 2)

    own_server.pause()
    floor.measured.faults += 1
    begin, begun = time.monotonic(), stopwatch()
    with pytest.raises(BrokerDownError):
        await floor.client.enqueue(floor.job(), task_id="in-vain")
    failed_after = stopwatch() - begun
    await floor.happened(What.END, 2)
    await asyncio.to_thread(own_server.process.poll)
    while time.monotonic() - begin < 5:
        await asyncio.sleep(0.05)
    own_server.resume()

    assert failed_after < 3.5, "2 s, and what a loaded machine adds"
    await floor.enqueue(5)
    await floor.happened(What.END, 7)
    await floor.idle()
    found = await floor.verdict()
    assert not found.lost
    assert not found.doubled
    assert (await floor.inspector.queues.get("default")).crashed == 0


UNWRITTEN = {"always": 0.0, "everysec": 2.0}
"""Seconds of writes that the server may keep in memory while the disk is slow."""


@pytest.mark.fault("broker killed")
@pytest.mark.parametrize("policy", UNWRITTEN)
async def test_a_broker_that_is_killed_loses_nothing_that_is_in_its_file(
    tmp_path, open_floor, enqueuing, rounds, policy
):
    arguments = ("--appendfsync", policy)
    with BrokerServer.valkey(tmp_path / "broker", durable=True, arguments=arguments) as server:
        async with open_floor(server.settings()) as floor:
            for name in ("a", "b"):
                floor.worker(name)
            await floor.ready(2)
            kills = []
            async with enqueuing(floor, seconds=0.01):
                for _ in range(rounds(3)):
                    await floor.happened(What.END, floor.count(What.END) + 30)
                    kills.append(time.time())
                    server.kill9()
                    server.start()
                    floor.measured.faults += 1
                await floor.happened(What.END, floor.count(What.END) + 30)
            await floor.idle()
            found = await floor.verdict(most_effects=2)

    accepted = {each.task: each.at for each in floor.events(What.ENQUEUED)}
    before = (
        min(kill - accepted[task] for kill in kills if kill > accepted[task]) for task in found.lost
    )
    assert all(seconds < UNWRITTEN[policy] for seconds in before), found
    assert not found.doubled
    assert found.accepted >= 90


@pytest.mark.fault("broker forgets")
@pytest.mark.parametrize("loss", ["SCRIPT FLUSH", "XGROUP DESTROY"])
async def test_scripts_and_the_group_are_made_again_without_a_loss(
    floor, own_server, enqueuing, loss
):
    worker = floor.worker("worker")
    command = {"SCRIPT FLUSH": ("SCRIPT", "FLUSH"), "XGROUP DESTROY": (
        "XGROUP", "DESTROY", "duly:{default}:stream", "workers",
    )}[loss]  # fmt: skip

    async with enqueuing(seconds=0.02):
        for number in range(3):
            await floor.happened(What.END, 20 * (number + 1))
            with own_server.client() as client:
                client.execute_command(*command)
            floor.measured.faults += 1

    await floor.idle()
    # What ran when its group went is delivered once more.
    found = await floor.verdict(most_effects=2)
    assert found.good, found
    assert worker.stop() == 0


@pytest.mark.fault("broker forgets")
async def test_a_broker_that_has_lost_everything_is_set_up_again(floor, own_server):
    worker = floor.worker("worker", lease_seconds=2)
    await floor.enqueue(10)
    await floor.idle()
    await floor.enqueue(3, seconds=0.3)
    await floor.happened(What.START, 13)

    with own_server.client() as client:
        client.flushall()

    async def works_again():
        # What is enqueued before the group is made again is found all the same.
        await floor.client.enqueue(floor.job())
        with contextlib.suppress(NotFoundError):  # each asks every ten seconds whether it is known
            return (await floor.inspector.queues.get("default")).processed >= 1

    await until(works_again, timeout=60, what="tasks are run again")
    await floor.ready()
    assert worker.stop() == 0


@pytest.mark.fault("memory full")
@pytest.mark.slow
async def test_a_full_broker_refuses_producers_and_keeps_the_living_alive(floor, own_server):
    floor.worker("a", lease_seconds=4)
    floor.worker("b", lease_seconds=4)
    await floor.ready(2)
    await floor.enqueue(4, seconds=10)
    await floor.enqueue(2, failures=1)
    await floor.happened(What.START, 4)

    with own_server.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(BrokerError, match="refuses writes"):
            await floor.client.enqueue(floor.job())
        await floor.happened(What.END, 4)
        client.config_set("maxmemory", "0")

    await floor.idle()
    found = await floor.verdict(most_effects=1)
    assert found.good, found
    report = await floor.inspector.queues.get("default")
    assert (report.crashed, found.starts, found.finished) == (0, 8, 6), "no lease ran out"


@pytest.mark.fault("memory full")
async def test_a_worker_starts_on_a_full_broker_and_empties_it(floor, own_server):
    await floor.enqueue(5)
    await floor.enqueue(2, failures=1)
    with own_server.client() as client:
        client.config_set("maxmemory", "1")

        floor.worker("worker")

        await floor.idle()
        assert (await floor.verdict()).finished == 7
