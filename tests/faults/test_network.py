"""The network cuts, loses, slices and delays: each thing is done once, and leases are obeyed."""

from datetime import timedelta

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.enqueue.ticks import Ticks
from duly.engine.storage.scripts import schedules, tasks
from duly.errors import BrokerDownError
from duly.schedule import Entry
from duly.testing.history import What
from duly.testing.outage import Outage
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)


def runs(script):
    """Tell requests that run a script from others."""
    return lambda data: script.sha.encode() in data or script.text.encode() in data


@pytest.fixture
async def outage(floor):
    async with Outage.before(floor.settings) as outage:
        yield outage


@pytest.fixture
def behind(floor, outage):
    """Start a worker that reaches the broker by way of the outage."""
    redis = outage.settings.model_dump(mode="json")
    return lambda name, **options: floor.worker(name, redis=redis, **options)


@pytest.mark.fault("reply lost")
async def test_an_enqueue_whose_reply_is_lost_becomes_one_task(floor, outage):
    async with Client.connect(outage.settings) as client:
        await client.enqueue(floor.job(), task_id="first")
        lost = outage.lose_next_reply(lambda data: b"second" in data)

        await client.enqueue(floor.job(), task_id="second")

    assert lost.is_set()
    assert sorted(await floor.listed()) == ["first", "second"]


@pytest.mark.fault("reply lost")
async def test_a_settling_whose_reply_is_lost_counts_once(floor, outage, behind):
    behind("worker")
    await floor.ready()
    lost = outage.lose_next_reply(runs(tasks._COMPLETE))

    await floor.enqueue(5)

    await floor.idle()
    assert lost.is_set()
    assert (await floor.verdict()).good
    report = await floor.inspector.queues.get("default")
    assert (report.processed, floor.count(What.START)) == (5, 5)


@pytest.mark.fault("reply lost")
async def test_a_delivery_whose_reply_is_lost_is_run_all_the_same(floor, outage, behind):
    behind("worker")
    await floor.ready()
    lost = outage.lose_next_reply(lambda data: b"XREADGROUP" in data and b"BLOCK" in data)

    await floor.enqueue(3)
    await until(lost.is_set, timeout=60)
    await floor.enqueue(3)

    await floor.idle()
    assert (await floor.verdict()).good
    report = await floor.inspector.queues.get("default")
    assert (report.processed, report.crashed, floor.count(What.START)) == (6, 0, 6)


@pytest.mark.fault("reply lost")
async def test_a_tick_whose_reply_is_lost_becomes_one_task(floor, outage):
    entry = Entry(id="seldom", job=floor.job(), interval=timedelta(days=100), queue="default")
    async with Ticks.connect(outage.settings) as ticks:
        other = Entry(id="other", job=floor.job(), interval=timedelta(days=100), queue="low")
        await ticks.tick(other)  # the broker knows the script from here on
        lost = outage.lose_next_reply(runs(schedules._TICK))
        with pytest.raises(BrokerDownError):
            await ticks.tick(entry)

        again = await ticks.tick(entry)

    assert lost.is_set()
    assert again.reports == ()
    assert len(await floor.listed()) == 1


@pytest.mark.fault("slow link")
async def test_replies_in_slices_and_late_corrupt_and_double_nothing(floor, outage, behind):
    outage.slice_bytes, outage.jitter_seconds = 40, 0.001
    behind("worker")
    await floor.ready()

    await floor.enqueue(20)
    await floor.enqueue(5, failures=1)

    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert (found.finished, found.starts) == (25, 30)


@pytest.mark.fault("slow link")
async def test_a_slow_link_delays_and_doubles_nothing(floor, outage, behind):
    """Each answer takes half a second, and large ones more, with a lease of five."""
    outage.latency_seconds, outage.jitter_seconds, outage.slice_bytes = 0.2, 0.2, 4_000
    behind("worker", lease_seconds=5)
    await floor.ready()

    await floor.enqueue(20, seconds=0.1)
    await floor.enqueue(5, failures=1)

    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert (found.finished, found.starts) == (25, 30)
    assert (await floor.inspector.queues.get("default")).crashed == 0


@pytest.mark.fault("slow link")
async def test_connections_cut_again_and_again_lose_and_double_nothing(
    floor, outage, behind, enqueuing
):
    behind("worker")
    await floor.ready()

    async with enqueuing(seconds=0.01):
        for number in range(1, 6):
            await floor.happened(What.END, 10 * number)
            outage.cut()
            floor.measured.faults += 1

    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert found.starts == found.accepted


WAYS = {
    "both ways": {},
    "requests only": {"replies": False},
    "replies only": {"requests": False},
}


@pytest.mark.fault("lease lost")
@pytest.mark.parametrize("way", WAYS)
async def test_a_worker_cut_off_longer_than_its_lease_gives_way(floor, outage, behind, way):
    behind("cut-off", lease_seconds=2, concurrency=1)
    await floor.enqueue(held=True)
    await floor.happened(What.START)

    outage.black_hole(**WAYS[way])
    floor.measured.faults += 1
    floor.worker("other", lease_seconds=10)
    await floor.happened(What.START, 2)
    outage.heal()

    await floor.happened(What.REFUSED)
    floor.go()
    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert (await floor.inspector.queues.get("default")).processed == 1


@pytest.mark.fault("reply lost")
async def test_a_queue_moved_by_two_clients_at_once_is_moved_once(floor, outage):
    lost = outage.lose_next_reply(runs(tasks._PROMOTE))
    await floor.enqueue(3, delay=timedelta(milliseconds=500))
    floor.worker("worker", redis=outage.settings.model_dump(mode="json"), lease_seconds=4)

    await floor.happened(What.END, 3)
    await floor.idle()
    assert lost.is_set()
    assert floor.count(What.START) == 3
