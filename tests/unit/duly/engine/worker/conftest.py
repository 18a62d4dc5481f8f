"""What tests of a worker's parts look at beside the part."""

import asyncio

import pytest


@pytest.fixture
async def complaints():
    """What asyncio had to complain of; there must be nothing."""
    found = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    yield found
    assert found == []


@pytest.fixture
def ended(inspector, until):
    """Wait until no task waits or runs; return the report of the queue."""

    async def wait():
        async def so():
            report = await inspector.queues.get("default")
            return None if report.waiting + report.active + report.scheduled else report

        return await until(so, timeout=20)

    return wait
