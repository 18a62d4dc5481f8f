"""Twenty thousand tasks at once: failures spread out, and no queue keeps another one waiting."""

import asyncio
import time

import pytest

from duly.engine.enqueue.request import Request
from duly.engine.inspection.search import Query
from duly.testing.history import History, What
from duly.testing.waiting import until

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]
CROWD = 20_000
WINDOW = 600.0
"""Seconds over which the first retries of a storm are spread."""
PATIENCE = 5.0
"""Seconds that a task of a quiet queue waits at most: a small part of what the crowd takes."""
PROBES = 40


@pytest.fixture
def crowd(floor):
    """Return a function that enqueues very many tasks and notes that in a history of its own."""
    with History(floor.folder / "history", process="crowd", synced=False) as history:

        async def enqueue(queue, job):
            ids = [f"{queue}{number:05}" for number in range(CROWD)]
            for start in range(0, CROWD, 1000):
                part = ids[start : start + 1000]
                await floor.client.enqueue_many(
                    [Request(job=job, queue=queue, task_id=task_id) for task_id in part]
                )
                for task_id in part:
                    history.add(What.ENQUEUED, task_id)
            return ids

        yield enqueue


async def report(floor, queue):
    return await floor.inspector.queues.get(queue)


async def probe(floor, queue):
    """Enqueue one task after the other in a quiet queue; wait for each to be run."""
    for number in range(1, PROBES + 1):
        await floor.enqueue(queue=queue)

        async def processed(number=number):
            return (await report(floor, queue)).processed >= number

        await until(processed, timeout=60, what=f"probe {number} of {queue}")


def waits(floor):
    """Return how long each probe waited for its start, in seconds."""
    accepted = {event.task: event.at for event in floor.events(What.ENQUEUED)}
    started = {event.task: event.at for event in floor.events(What.START)}
    return sorted(max(0.0, started[task] - accepted[task]) for task in floor.accepted)


@pytest.mark.fault("flood")
async def test_a_flooded_queue_keeps_the_other_queues_of_its_worker_not_waiting(floor, crowd):
    queues = {"critical": 6, "default": 3, "low": 1}
    await crowd("low", floor.job(seconds=0.02))
    worker = floor.worker("worker", lease_seconds=4, queues=queues, concurrency=8, synced=False)
    await floor.ready(queue="low")

    async with asyncio.TaskGroup() as probes:
        probes.create_task(probe(floor, "critical"))
        probes.create_task(probe(floor, "default"))
    flood = await report(floor, "low")
    assert worker.stop() == 0

    waited = waits(floor)
    floor.measured.figures["longest wait in another queue"] = f"{waited[-1]:.2f} s"
    assert flood.waiting > PROBES, "the flood went on all the while"
    assert waited[-1] < PATIENCE
    flood = await report(floor, "low")
    assert flood.processed + flood.waiting == CROWD, "none is lost, and none counted twice"
    assert flood.crashed == 0


def memory(server):
    with server.client() as client:
        return client.info("memory")["used_memory"]


def spread(server, *, since):
    """Tell whether the retries of the crowd are due evenly over the window after an instant."""
    with server.client() as client:
        scores = client.zrange("duly:{default}:retry", 0, -1, withscores=True)
    due = [score / 1000 - since for _, score in scores]
    # Retries of the first minute have begun already; the last minute belongs to the last failures.
    minutes = [sum(60 * n <= each < 60 * (n + 1) for each in due) for n in range(1, 9)]
    print(f"due in the minutes 1 to 8: {minutes}")
    return max(due) <= WINDOW and all(0.08 * CROWD < count < 0.12 * CROWD for count in minutes)


@pytest.mark.fault("failure storm")
async def test_a_storm_of_failures_is_spread_by_jitter_and_holds_up_no_other_queue(
    floor, crowd, own_server
):
    before = memory(own_server)
    worker = floor.worker(
        "worker", lease_seconds=4, queues={"default": 1, "low": 1}, concurrency=50, synced=False
    )
    await floor.ready(queue="low")

    begun = time.time()
    probing = asyncio.create_task(probe(floor, "low"))
    await crowd("default", floor.storm())

    async def failed():
        return (await report(floor, "default")).failed >= CROWD

    await until(failed, timeout=90, what="every task has failed once")
    await probing
    ended = time.time()

    assert spread(own_server, since=ended), "each minute of the window has a tenth of them"
    held = memory(own_server) - before
    waited = waits(floor)
    floor.measured.figures |= {
        "each failed task takes": f"{held / CROWD:.0f} bytes",
        "all failed once within": f"{ended - begun:.0f} s",
        "longest wait in another queue": f"{waited[-1]:.2f} s",
    }
    assert held / CROWD < 4096
    assert waited[-1] < PATIENCE

    # Run them all at once, by hand; whatever is due meanwhile succeeds too.
    floor.go()
    plan = await floor.inspector.bulk.plan(
        "run", Query(queues=("default",)), cap=CROWD, window=CROWD
    )
    await floor.inspector.bulk.execute(plan)
    await floor.idle()
    assert worker.stop() == 0
    found = await floor.verdict()
    assert found.good, found
    assert found.finished == CROWD + PROBES
    again = found.starts - found.finished - CROWD
    assert 0 <= again < CROWD / 10, "those whose retry came due before all could succeed"
