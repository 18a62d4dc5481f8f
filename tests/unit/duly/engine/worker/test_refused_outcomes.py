"""Outcomes that the broker refuses hold up no other, and are written once it takes them."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from duly.engine.storage.keys import queue_keys
from duly.engine.worker.refused_outcomes import RefusedOutcomes, Unwritten
from duly.job import Job, Policy
from duly.task import TaskState
from duly.testing.waiting import until

KEYS = queue_keys("default")


class Plain(Job, kind="plain", policy=Policy(unique_for=None)):
    pass


class Lost(Job, kind="lost", policy=Policy(max_attempts=1)):
    pass


class Kept(Job, kind="kept", policy=Policy(retention=timedelta(hours=1))):
    pass


async def fine(*_):
    return {"answer": 42}


async def fail(*_):
    raise ValueError("no such order")


HANDLERS = {Plain: fine, Lost: fail, Kept: fine}


@pytest.mark.parametrize(
    "spoilt",
    [
        (KEYS.archived, Lost()),
        (KEYS.records, Lost()),
        (KEYS.tries, Lost()),
        (KEYS.history, Lost()),
        (KEYS.completed, Kept()),
        (KEYS.records, Kept()),
        (KEYS.results, Kept()),
    ],
)
async def test_a_refused_outcome_holds_up_no_other_and_is_written_later(
    client, inspector, serving, valkey_server, spoilt
):
    key, job = spoilt
    with valkey_server.client() as raw, capture_logs() as logs:
        raw.set(key, "not ours")
        async with serving(HANDLERS) as server:
            refused = await client.enqueue(job)
            await until(lambda: server.stuck("default"))
            others = [await client.enqueue(Plain()) for _ in range(20)]

            async def ended():
                # The stuck one is all that is left.
                return raw.xlen(KEYS.stream) == 1

            await until(ended)
            assert len(others) == 20
            assert server.stuck("default") == 1
            raw.delete(key)
            await until(lambda: not server.stuck("default"))

        state = (await inspector.tasks.find(refused.id)).state
    assert state is (TaskState.ARCHIVED if isinstance(job, Lost) else TaskState.COMPLETED)
    assert raw.xlen(KEYS.stream) == 0
    told = [line for line in logs if line["event"].startswith("Outcomes refused")]
    assert [(line["task_id"], line["kind"]) for line in told] == [(refused.id, job.kind)]
    assert key in told[0]["error"]
    assert [line["event"] for line in logs if line["event"] == "Refused outcomes written"]


@pytest.mark.parametrize(
    "key", [KEYS.totals, KEYS.cancels, KEYS.locks, KEYS.results, KEYS.history, KEYS.servers]
)
async def test_a_success_needs_no_side_key(client, serving, valkey_server, key):
    with valkey_server.client() as raw:
        raw.set(key, "not ours")
        async with serving(HANDLERS) as server:
            for _ in range(5):
                await client.enqueue(Plain())
            await until(lambda: not raw.xlen(KEYS.stream))
            assert server.stuck("default") == 0


async def test_refused_outcomes_among_many_are_all_that_is_set_aside(
    client, serving, valkey_server
):
    """One batch: what a key is needed for is refused, and the rest of that batch is written."""
    with valkey_server.client() as raw:
        async with serving(HANDLERS, concurrency=100) as server:
            raw.set(KEYS.results, "not ours")
            jobs = [Kept() if number % 10 == 0 else Lost() for number in range(100)]
            await client.enqueue_many(jobs)
            await until(lambda: raw.xlen(KEYS.stream) == 10 == server.stuck("default"))
            raw.delete(KEYS.results)
            await until(lambda: not server.stuck("default"))

        assert raw.zcard(KEYS.archived) == 90
        assert raw.zcard(KEYS.completed) == 10
        assert raw.hlen(KEYS.results) == 10


async def test_a_server_shows_which_tasks_cannot_end(client, inspector, serving, valkey_server):
    with valkey_server.client() as raw:
        raw.set(KEYS.archived, "not ours")
        async with serving(HANDLERS, lease=timedelta(seconds=1)):
            task = await client.enqueue(Lost())

            async def shown():
                servers = await inspector.servers.list()
                return [task for server in servers for task in server.running if task.stuck]

            (stuck,) = await until(shown)
            raw.delete(KEYS.archived)

    assert (stuck.id, stuck.kind) == (task.id, "lost")
    assert "it has ended" in stuck.progress.note


def unwritten(number, error="wrong type"):
    async def write():
        return False

    return Unwritten(b"%d-0" % number, f"t{number}", "plain", error, 0, write)


def test_so_many_refusals_that_nothing_more_is_taken():
    outcomes = RefusedOutcomes("default")

    for number in range(1_000):
        assert not outcomes.full
        outcomes.add(unwritten(number))

    assert outcomes.full
    assert len(outcomes.kept()) == 1_000


def test_each_error_is_logged_once_and_alike_outcomes_wait_together():
    outcomes = RefusedOutcomes("default")

    with capture_logs() as logs:
        for number in range(10):
            outcomes.add(unwritten(number, error=f"error {number % 2}"))
        pauses = [outcomes.add(unwritten(number, error="error 0")) for number in (0, 2, 4)]

    assert [line["error"] for line in logs] == ["error 0", "error 1"]
    assert all(pause <= 1.0 for pause in pauses)
    assert outcomes.due() == []
    assert sorted(map(len, outcomes.due(now=True))) == [5, 5]


def test_an_outcome_that_is_refused_for_another_reason_changes_its_sort():
    outcomes = RefusedOutcomes("default")
    outcomes.add(unwritten(1))

    with capture_logs() as logs:
        outcomes.add(unwritten(1, error="no permission"))
        outcomes.written(unwritten(1, error="no permission"))

    assert [line["event"] for line in logs][-1] == "Refused outcomes written"
    assert len(outcomes) == 0
    assert outcomes.due(now=True) == []
