"""A worker dies between a success and its successors: each of them is enqueued, and once."""

import pytest

from duly.engine.storage.keys import queue_keys
from duly.flow import chain, group, step
from duly.testing.history import What

pytestmark = pytest.mark.timeout(400)
QUEUES = ("default", "low")
POINTS = ("effect", "settle", "settled", "deliver", "delivered", "removed")
"""After the effect; before and after the success and its successors are written; before and after
the outbox is delivered to another queue; after its entries are removed."""


def in_a_row(job):
    """Return a chain through two queues and back, and the ids of its tasks."""
    steps = (step(job, queue=queue) for queue in ("default", "low", "low", "default"))
    return chain(*steps), ["flow.1", "flow.2", "flow.3", "flow.4"]


def fanned_out(job):
    """Return a fan-out over two queues whose join is in another one than its start, and ids."""
    members = [step(job, queue=QUEUES[number % 2]) for number in range(4)]
    flow = chain(step(job, queue="default"), group(members), step(job, queue="low"))
    return flow, ["flow.1", *(f"flow.2.1.{place}" for place in range(1, 5)), "flow.3"]


@pytest.mark.fault("crash point of a flow")
@pytest.mark.parametrize("make", [in_a_row, fanned_out], ids=["chain", "fan-out"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_that_dies_before_its_successors_run_neither_loses_nor_doubles_one(
    floor, own_server, make, point
):
    flow, ids = make(floor.job())
    queues = dict.fromkeys(QUEUES, 1)
    await floor.client.start(flow, flow_id="flow")
    for task_id in ids:
        floor.history.add(What.ENQUEUED, task_id)

    first = floor.worker("first", die=point, concurrency=1, lease_seconds=2, queues=queues)
    assert first.died(), first.text()
    second = floor.worker("second", lease_seconds=4, queues=queues)
    await floor.ended(ids)

    found = await floor.verdict(most_effects=2)
    assert found.good, found
    # The killed worker had one slot: at most one task had begun and was not settled.
    assert len(ids) <= found.starts <= len(ids) + 1
    for queue in QUEUES:
        await floor.idle(queue)
    assert second.stop() == 0
    reports = [await floor.inspector.queues.get(queue) for queue in QUEUES]
    assert sum(report.processed for report in reports) == len(ids), "each success counts once"
    assert sum(report.held for report in reports) == 0
    with own_server.client() as client:
        for keys in map(queue_keys, QUEUES):
            assert (client.xlen(keys.outbox), client.hlen(keys.joins)) == (0, 0)
