"""Workers die, hang and are replaced: nothing accepted is lost, little is doubled, none late."""

import random
import time

import pytest

from duly.testing.history import What
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)
LEASE = 4.0
"""Of workers that are killed. One that lives loses it by a stall of three seconds."""
RECOVERED = 15.0
"""What is promised with a lease of 10 s; these have 4 s, and a machine under load."""


@pytest.mark.fault("worker killed")
@pytest.mark.slow
async def test_workers_killed_in_rounds_lose_nothing(floor, enqueuing, rounds):
    chance, count = random.Random(7), rounds(5)
    workers = {name: floor.worker(name, lease_seconds=LEASE) for name in ("a0", "b0")}
    # One lives on: without anybody tasks wait for longer than it takes to recover them.
    floor.worker("survivor", lease_seconds=LEASE)
    await floor.ready(3)

    async with enqueuing(seconds=0.05):
        for number in range(1, count + 1):
            await floor.happened(What.START, 15 * number)
            victim = chance.choice(sorted(workers))
            workers.pop(victim).kill9()
            fresh = f"{victim[0]}{number}"
            workers[fresh] = floor.worker(fresh, lease_seconds=LEASE)

    await floor.idle()
    found = await floor.verdict(most_effects=3, longest=RECOVERED)
    assert found.good, found
    again = found.starts - found.accepted
    # What was delivered and had not begun counts as crashed too, and begins once.
    crashed = (await floor.inspector.queues.get("default")).crashed
    assert 0 < again <= crashed <= count * 4, "only what was in the hands of the killed"


@pytest.mark.fault("worker killed")
@pytest.mark.slow
async def test_all_workers_killed_at_once_lose_nothing(floor, enqueuing):
    """As when a node is lost: nobody is left who could notice."""
    async with enqueuing(seconds=0.05):
        for number in range(2):
            names = [f"{name}{number}" for name in "abc"]
            workers = [floor.worker(name, lease_seconds=LEASE) for name in names]
            await floor.ready(3)
            await floor.happened(What.START, floor.count(What.START) + 20)
            for worker in workers:
                worker.kill9()
        last = floor.worker("last", lease_seconds=LEASE)
        await floor.arrived(last)
        arrived = time.time()
        await floor.happened(What.END, floor.count(What.END) + 20)

    await floor.idle()
    found = await floor.verdict(most_effects=3)
    assert found.good, found
    cut_off = {each.task for each in floor.events(What.START) if each.process != "last"} - {
        each.task for each in floor.events(What.END) if each.process != "last"
    }
    begun = [each.at for each in floor.events(What.START) if each.task in cut_off]
    assert max(begun, default=arrived) - arrived < RECOVERED


POINTS = {"read": 0, "start": 0, "effect": 1, "end": 1, "settle": 1, "settled": 1}
"""Where the worker dies → effects of the task before."""


@pytest.mark.fault("crash point of a task")
@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_that_dies_at_a_point_between_two_steps_loses_nothing(floor, point):
    await floor.enqueue()
    first = floor.worker("first", die=point, concurrency=1, lease_seconds=2)
    assert first.died(), first.text()

    second = floor.worker("second", lease_seconds=LEASE)
    await floor.arrived(second)
    arrived = time.time()
    await floor.idle()

    found = await floor.verdict(most_effects=2)
    assert found.good, found
    assert found.finished == 1
    begun = [event.at for event in floor.events(What.START) if event.process == "second"]
    assert all(at - arrived < RECOVERED for at in begun)
    effects = floor.events(What.EFFECT)
    assert len(effects) == POINTS[point] + (point != "settled")
    assert len({event.facts["key"] for event in effects}) == 1, "both have the same key"


@pytest.mark.fault("poison")
@pytest.mark.slow
async def test_a_crash_is_no_failed_attempt_and_three_crashes_quarantine(floor):
    await floor.enqueue(held=True)
    for number in range(3):
        worker = floor.worker(f"w{number}", lease_seconds=3)
        await floor.happened(What.START, number + 1)
        worker.kill9()

    floor.worker("last", lease_seconds=3)
    await floor.idle()

    report = await floor.inspector.queues.get("default")
    assert (report.quarantined, report.crashed, report.failed) == (1, 3, 0)
    starts = floor.events(What.START)
    assert [(e.facts["attempt"], e.facts["crashes"]) for e in starts] == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.fault("lease lost")
async def test_a_worker_that_hangs_longer_than_its_lease_cannot_finish_late(floor):
    slow = floor.worker("slow", concurrency=1, lease_seconds=3)
    await floor.arrived(slow)
    (task,) = await floor.enqueue(held=True)
    await floor.happened(What.START)

    slow.pause()
    floor.measured.faults += 1
    other = floor.worker("other", lease_seconds=10)
    await floor.happened(What.START, 2)
    floor.go()
    await floor.happened(What.END)
    await floor.idle()
    slow.resume()

    await until(lambda: "Outcomes refused" in slow.text() or "Lease lost" in slow.text())
    assert (slow.stop(), other.stop()) == (0, 0)
    found = await floor.verdict(most_effects=2, longest=RECOVERED)
    assert found.good, found
    report = await floor.inspector.queues.get("default")
    assert (report.processed, report.crashed) == (1, 1), "a late finish counts for nothing"
    assert [e.process for e in floor.events(What.END) if e.task == task][:1] == ["other"]


@pytest.mark.fault("long task")
@pytest.mark.slow
async def test_a_task_much_longer_than_the_lease_is_never_taken_from_a_live_worker(floor):
    floor.worker("a", lease_seconds=LEASE)
    floor.worker("b", lease_seconds=LEASE)
    await floor.ready(2)
    await floor.enqueue(4, seconds=5 * LEASE)

    await floor.happened(What.END, 4)
    await floor.idle()

    found = await floor.verdict()
    assert found.good, found
    assert found.starts == 4


@pytest.mark.fault("stop")
@pytest.mark.slow
async def test_a_rolling_restart_under_load_loses_and_doubles_nothing(floor, enqueuing):
    workers = [floor.worker(f"old{number}") for number in range(3)]
    await floor.ready(3)

    async with enqueuing(seconds=0.1):
        for number, worker in enumerate(workers):
            await floor.happened(What.START, 20 * (number + 1))
            floor.worker(f"new{number}")
            assert worker.stop() == 0
            floor.measured.faults += 1

    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert found.starts == found.accepted, "no attempt began in vain"
    assert (await floor.inspector.queues.get("default")).crashed == 0


@pytest.mark.fault("broker hangs")
@pytest.mark.parametrize("outage", ["hangs", "restarts"])
async def test_an_outage_longer_than_the_lease_is_nobody_s_crash(floor, own_server, outage):
    queues = {"default": 1, "low": 1}
    for name in ("a", "b", "c"):
        floor.worker(name, lease_seconds=2, concurrency=2, queues=queues)
    await floor.ready(3)
    await floor.enqueue(6, held=True)
    await floor.happened(What.START, 6)

    (own_server.pause if outage == "hangs" else own_server.stop)()
    floor.measured.faults += 1
    over = time.monotonic() + 3 * 2
    await until(lambda: time.monotonic() > over, timeout=30, what="three leases are over")
    (own_server.resume if outage == "hangs" else own_server.start)()
    await floor.ready(3)
    await floor.ready(3, "low")
    floor.go()

    await floor.idle()
    report = await floor.inspector.queues.get("default")
    assert (report.crashed, report.quarantined) == (0, 0)
    assert floor.count(What.START) == 6
