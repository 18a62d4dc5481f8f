"""What workers remember together of the orders that were logged, on a real broker."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.inspection.notes import Notes
from duly.orders.memory import Memory
from duly.orders.page import Page
from duly.orders.policies import Changes, Every, Span

NOW = datetime(2026, 11, 29, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def page(*changed_ago):
    """Return a page of old orders that changed so many seconds ago."""
    created = NOW - timedelta(days=2)
    return Page(
        orders=[(number, "u", "e") for number in range(len(changed_ago))],
        times=[(created, NOW - ago * SECOND) for ago in changed_ago],
    )


@pytest.fixture
def worker(inspector):
    """Return a function that makes a worker's policy and its memory."""

    def make():
        policy = Changes(timedelta(days=3650))
        return policy, Memory(inspector.notes, policy)

    return make


async def check(policy, memory, found, begun):
    """Run a whole check of one page; return the ids that are logged."""
    await memory.learn("default")
    span = policy.span(begun)
    await memory.recall("default", found, span)
    chosen = policy.chosen(found, span)
    policy.written(chosen, span)
    await memory.written("default", chosen, span)
    policy.swept(span)
    await memory.swept("default", span)
    return [order[0] for order in chosen.orders]


async def test_what_one_worker_has_logged_the_other_does_not(worker):
    one, two = worker(), worker()

    assert await check(*one, page(3000, 5, 2000), NOW) == [0, 1, 2]
    assert await check(*two, page(3000, 5, 2000), NOW + SECOND) == []
    assert await check(*two, page(3000, 5, -1.5), NOW + 2 * SECOND) == [2]
    assert await check(*one, page(3000, 5, -1.5), NOW + 3 * SECOND) == []
    # It changed again in the same second.
    assert await check(*one, page(3000, 5, -1.6), NOW + 4 * SECOND) == [2]
    assert await check(*two, page(3000, 5, -1.6), NOW + 5 * SECOND) == []
    assert await check(*worker(), page(3000, 5, -1.6), NOW + 6 * SECOND) == []


async def test_another_queue_is_another_memory(worker):
    one, (policy, memory) = worker(), worker()
    await check(*one, page(5), NOW)

    await memory.learn("other")

    assert policy.span(NOW).since is None


async def test_only_what_a_check_looks_back_to_is_kept(worker, inspector):
    one = worker()
    await check(*one, page(3000, 5), NOW)
    await check(*one, page(3000, 5, -70), NOW + 71 * SECOND)

    kept = await inspector.notes.read("pending-orders:default", ["int:0", "int:1", "int:2"])
    assert kept.keys() == {"int:2"}


async def test_a_policy_that_needs_no_memory_asks_nobody(inspector):
    memory, span = Memory(inspector.notes, Every()), Span(begun=NOW)
    for step in (memory.recall, memory.written):
        await step("default", page(5), span)
    await memory.swept("default", span)

    assert await inspector.notes.read("pending-orders:default", ["whole", "int:0"]) == {}


async def test_a_broker_that_fails_costs_lines_and_no_check(outage_store):
    policy = Changes(timedelta(days=3650))
    memory = Memory(Notes(KnownQueues(outage_store)), policy)
    assert await check(policy, memory, page(5), NOW) == [0]

    outage_store.fail_next(100)
    other = Changes(timedelta(days=3650))

    memory = Memory(Notes(KnownQueues(outage_store)), other)
    assert await check(other, memory, page(5), NOW + SECOND) == [0]


@pytest.mark.parametrize("order", [(1, "a"), "\ud800", "ü\n", None])
async def test_any_id_of_a_source_can_be_remembered(worker, order):
    found = Page(orders=[(order, "u", "e")], times=[(NOW - SECOND, NOW)])

    assert await check(*worker(), found, NOW) == [order]
    assert await check(*worker(), found, NOW + SECOND) == []
