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


async def test_running_tasks_go_on_while_the_broker_restarts(floor, own_server):
    worker = floor.worker("worker", concurrency=3)
    await floor.enqueue(3, seconds=2)
    await floor.enqueue(10)
    await floor.happened(What.START, 3)

    own_server.stop()
    worker.said("Broker away")
    own_server.start()

    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert (found.finished, found.starts) == (13, 13), "none began again"


async def test_a_worker_with_no_free_slot_says_that_the_broker_is_away(floor, own_server):
    worker = floor.worker("worker", concurrency=1, lease_seconds=10)
    await floor.enqueue(1, held=True)
    await floor.happened(What.START, 1)

    own_server.stop()
    worker.said("Broker away")
    assert floor.count(What.END) == 0
    own_server.start()

    worker.said("Broker back")
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


async def test_a_broker_that_hangs_costs_producers_two_seconds_and_tasks_nothing(
    hasty_floor, own_server, stopwatch
):
    floor = hasty_floor
    floor.worker("worker")
    await floor.enqueue(2, seconds=3)
    await floor.happened(What.START, 2)

    own_server.pause()
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
    assert (await floor.inspector.queue("default")).crashed == 0


async def test_a_broker_that_is_killed_with_fsync_always_loses_nothing(tmp_path, open_floor):
    arguments = ("--appendfsync", "always")
    with BrokerServer.valkey(tmp_path / "broker", durable=True, arguments=arguments) as server:
        async with open_floor(server.settings()) as floor:
            floor.worker("a")
            floor.worker("b")
            await floor.ready(2)
            for number in range(1, 4):
                load = asyncio.create_task(floor.enqueue(40, seconds=0.01))
                await floor.happened(What.END, 30 * number - 15)
                server.kill9()
                server.start()
                await load
            await floor.idle()
            found = await floor.verdict(most_effects=2)

    assert found.good, found
    assert found.accepted >= 60


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

    await floor.idle()
    # What ran when its group went is delivered once more.
    found = await floor.verdict(most_effects=2)
    assert found.good, found
    assert worker.stop() == 0


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
            return (await floor.inspector.queue("default")).processed >= 1

    await until(works_again, timeout=60, what="tasks are run again")
    await floor.ready()
    assert worker.stop() == 0


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
        with pytest.raises(BrokerError, match="takes no writes now"):
            await floor.client.enqueue(floor.job())
        await floor.happened(What.END, 4)
        client.config_set("maxmemory", "0")

    await floor.idle()
    found = await floor.verdict(most_effects=1)
    assert found.good, found
    report = await floor.inspector.queue("default")
    assert (report.crashed, found.starts, found.finished) == (0, 8, 6), "no lease ran out"


async def test_a_worker_starts_on_a_full_broker_and_empties_it(floor, own_server):
    await floor.enqueue(5)
    await floor.enqueue(2, failures=1)
    with own_server.client() as client:
        client.config_set("maxmemory", "1")

        floor.worker("worker")

        await floor.idle()
        assert (await floor.verdict()).finished == 7
