"""A handler blocks its worker's event loop: the task stays its own, and the probe says so."""

import asyncio
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from duly.testing.history import What
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)
LEASE = 3.0
QUEUES = {"default": 1, "low": 1}


def livez(port):
    """Return status and text of the probe."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/livez", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.fault("blocked loop")
async def test_a_handler_that_blocks_the_loop_for_three_leases_keeps_its_task(floor):
    blocked = floor.worker("blocked", lease_seconds=LEASE, queues=QUEUES, probes=True)
    await floor.arrived(blocked)
    port = int((floor.folder / "blocked.port").read_text())
    assert await asyncio.to_thread(livez, port) == (200, "ok\n")

    await floor.enqueue(held=True, blocking=True)
    await floor.happened(What.START)
    over = time.monotonic() + 3 * LEASE
    free = floor.worker("free", lease_seconds=LEASE, queues=QUEUES)
    await floor.arrived(free)
    others = [*await floor.enqueue(5), *await floor.enqueue(5, queue="low")]
    await until(lambda: time.monotonic() > over, timeout=90, what="three leases are over")

    # Others work on both queues, and nobody takes the task away from a worker that is alive.
    await floor.ended(others)
    status, text = await asyncio.to_thread(livez, port)
    assert (status, text.startswith("the event loop has not run for")) == (503, True), text
    server = {each.pid: each for each in await floor.inspector.servers.list()}
    assert [task.id for task in server[blocked.process.pid].running] == ["t00000"]
    assert floor.count(What.START) == 1 + len(others)

    floor.go()
    await floor.idle()
    await floor.idle("low")
    found = await floor.verdict()
    assert found.good, found
    assert (found.starts, found.refused) == (11, 0)
    for queue in QUEUES:
        assert (await floor.inspector.queues.get(queue)).crashed == 0

    async def lives():
        return (await asyncio.to_thread(livez, port))[0] == 200

    await until(lives, timeout=90, what="/livez answers 200 again")
    assert (blocked.stop(), free.stop()) == (0, 0)
