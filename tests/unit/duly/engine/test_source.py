"""A read that waits on some of the queues ends as soon as it ought to wait on others."""

import asyncio

import pytest

from duly.engine.source import Source


@pytest.fixture
def closed():
    """The queues of which nothing is to be taken."""
    return {"critical"}


@pytest.fixture
async def source(store, closed):
    for queue in ("critical", "default"):
        await store.register(queue)
    source = Source(
        store,
        {"critical": 6, "default": 3},
        server="one",
        block_ms=600_000,
        paused=lambda queue: queue in closed,
    )
    yield source
    await source.close()


async def wait_began(source):
    """Begin to wait on the queues that are open; return the wait."""
    waiting = asyncio.create_task(source.next(1))
    async with asyncio.timeout(60):
        while not source._waits:
            await asyncio.sleep(0)
    return waiting


async def wait_until_told(source):
    """Wait on the queues that are open until there may be others; return what was found."""
    waiting = await wait_began(source)
    source.look_again()
    return await asyncio.wait_for(waiting, 60)


async def test_wait_ends_when_a_queue_left_out_may_be_asked(source):
    assert await wait_until_told(source) == []


async def test_wait_that_leaves_nothing_out_goes_on(source, closed):
    closed.clear()
    waiting = await wait_began(source)

    source.look_again()

    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    source.end_wait()
    assert await asyncio.wait_for(waiting, 60) == []


async def test_each_of_two_waits_in_quick_succession_ends(source):
    await wait_until_told(source)

    # What ended the first wait is still about.
    assert await wait_until_told(source) == []


async def test_wait_that_nobody_ends_is_left_alone_after_one_that_was_ended(source):
    await wait_until_told(source)

    second = await wait_began(source)

    done, _ = await asyncio.wait({second}, timeout=0.1)
    assert not done
    source.look_again()
    await asyncio.wait_for(second, 60)
