"""operate.lua and cancel.lua: what an operator may do in each state, by `duly.task.LEGAL`."""

import pytest

from duly.engine.scripts import NewTask
from duly.task import LEGAL, TaskState

GOAL = {"run": TaskState.WAITING, "archive": TaskState.ARCHIVED, "delete": None}
NEEDLESS = {("run", TaskState.ACTIVE), ("archive", TaskState.ACTIVE), ("delete", TaskState.ACTIVE)}
"""Moves that are legal, though only for the server that runs the task."""


def unique(task_id, due_ms=0):
    return NewTask(id=task_id, data=b"{}", due_ms=due_ms, lock="digest", lock_ttl_ms=9**9)


async def bring(lane, state):
    """Bring task "one", with a lock, into a state."""
    if state is TaskState.SCHEDULED:
        await lane.add(
            NewTask(id="one", data=b"{}", due_ms=lane.now + 9, lock="digest", lock_ttl_ms=9**9)
        )
        return
    if state is TaskState.WAITING:
        await lane.add(NewTask(id="one", data=b"{}", lock="digest", lock_ttl_ms=9**9))
        return
    if state is TaskState.AGGREGATING:
        data = b'{"labels":{"group":["greet:all",9,0,9]}}'
        group = ("greet:all", 9, 0, 9)
        await lane.gather(
            NewTask(id="one", data=data, lock="digest", lock_ttl_ms=9**9, group=group)
        )
        return
    entry = await lane.active(lock="digest")
    if state is not TaskState.ACTIVE:
        await lane.end(entry, verdict=state.value, in_ms=60_000, lock="digest", result=b"1")


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("operation", ["run", "archive", "delete"])
async def test_an_operation_does_what_is_legal_and_nothing_else(lane, state, operation):
    await bring(lane, state)
    if state is not TaskState.COMPLETED:
        await lane.command("DEL", lane.keys.results)
    before = await lane.places(), await lane.stream(), await lane.map("locks")
    goal = GOAL[operation]
    legal = goal in LEGAL[state] and (operation, state) not in NEEDLESS

    answer = await lane.operate(operation, lock="digest")

    if legal:
        assert answer == "ok"
        assert await lane.places() == ({"one": goal.value} if goal else {})
        assert ("digest" in await lane.map("locks")) == (
            operation == "run"
            and state in {TaskState.SCHEDULED, TaskState.RETRY, TaskState.AGGREGATING}
        )
    else:
        assert answer == state.value
        assert (await lane.places(), await lane.stream(), await lane.map("locks")) == before


@pytest.mark.parametrize("operation", ["run", "archive", "delete"])
async def test_a_task_that_is_not_there_is_missing(lane, operation):
    await lane.store.register("lane")

    assert await lane.operate(operation) == "missing"
    assert await lane.places() == {}


async def test_a_run_resets_attempts_and_crashes_and_keeps_history(lane):
    """asynq C9: there a run leaves one attempt."""
    await lane.end(await lane.active(), tries="12 2")

    await lane.operate("run")

    (delivery,) = await lane.claim()
    assert (delivery.attempts, delivery.crashes, delivery.retried) == (0, 0, True)
    assert set(await lane.map("history")) == {"one"}


async def test_an_archived_task_keeps_its_attempts(lane):
    await lane.end(await lane.active(), verdict="retry", tries="3 1")
    await lane.move()

    await lane.operate("archive")

    assert await lane.map("tries") == {"one": b"3 1"}
    assert await lane.places() == {"one": "archived"}


async def test_a_delete_does_not_free_anothers_lock(lane):
    await lane.add("one", unique("two"))

    await lane.operate("delete", lock="digest")

    assert set(await lane.map("locks")) == {"digest"}


async def test_a_quarantined_stranger_leaves_nothing_when_it_has_run(lane):
    await lane.store.register("lane")
    await lane.command("XADD", lane.keys.stream, "*", "data", b"not JSON")
    (delivery,) = await lane.claim()
    stand_in = delivery.entry.decode()
    await lane.end(delivery.entry, stand_in, verdict="quarantined")

    assert await lane.operate("run", stand_in) == "ok"

    (again,) = await lane.claim()
    await lane.end(again.entry, again.entry.decode(), verdict="quarantined")
    assert await lane.places() == {again.entry.decode(): "quarantined"}


async def test_a_double_kept_under_a_stand_in_gets_its_name_back(lane):
    await lane.add("one")
    ours = (await lane.claim())[0]
    await lane.command("XADD", lane.keys.stream, "*", "data", ours.data)
    (double,) = await lane.claim()
    await lane.end(double.entry, "one")
    stand_in = f"one#{double.entry.decode()}"
    await lane.finish((ours.entry, "one"))

    assert await lane.operate("run", stand_in) == "ok"

    assert await lane.places() == {"one": "waiting"}
    (again,) = await lane.claim()
    await lane.finish((again.entry, "one"))
    assert await lane.places() == {}


async def test_a_double_whose_name_is_taken_runs_without_one(lane):
    await lane.add("one")
    (ours,) = await lane.claim()
    await lane.command("XADD", lane.keys.stream, "*", "data", ours.data)
    (double,) = await lane.claim()
    await lane.end(double.entry, "one")

    assert await lane.operate("run", f"one#{double.entry.decode()}") == "ok"

    assert await lane.places() == {"one": "active"}
    assert len(await lane.stream()) == 2


@pytest.mark.parametrize("outcome", ["archived", "dropped", "retry"])
async def test_a_cancel_is_told_by_the_heartbeat_until_the_task_is_settled(lane, outcome):
    entry = await lane.active()

    assert await lane.store.cancel("lane", task_id="one", outcome=outcome) == "ok"

    assert (await lane.beat())[5] == [b"one", outcome.encode()]
    await lane.end(entry, verdict=outcome)
    assert (await lane.beat())[5] == []
    await lane.places()


@pytest.mark.parametrize("state", [state for state in TaskState if state is not TaskState.ACTIVE])
async def test_only_active_tasks_are_cancelled(lane, state):
    await bring(lane, state)

    answer = await lane.store.cancel("lane", task_id="one", outcome="archived")

    assert answer == state.value
    assert await lane.map("cancels") == {}


async def test_a_task_that_is_not_there_is_not_cancelled(lane):
    await lane.store.register("lane")

    assert await lane.store.cancel("lane", task_id="one", outcome="archived") == "missing"


async def test_a_cancelled_task_that_succeeds_all_the_same_leaves_no_request(lane):
    entry = await lane.active()
    await lane.store.cancel("lane", task_id="one", outcome="archived")

    await lane.finish((entry, "one"))

    assert await lane.map("cancels") == {}


async def test_a_cancel_outlives_the_death_of_the_server(lane):
    await lane.beat()
    await lane.active()
    await lane.store.cancel("lane", task_id="one", outcome="archived")
    lane.now += 10_000
    await lane.reap()

    assert set(await lane.map("cancels")) == {"one"}


async def test_a_task_quarantined_by_a_crash_is_not_cancelled_when_run_again(lane):
    await lane.beat()
    await lane.active()
    await lane.store.cancel("lane", task_id="one", outcome="archived")
    lane.now += 10_000
    await lane.reap(max_crashes=1)

    assert await lane.places() == {"one": "quarantined"}
    assert await lane.map("cancels") == {}


async def test_a_deleted_task_takes_its_cancel_along(lane):
    entry = await lane.active()
    await lane.store.cancel("lane", task_id="one", outcome="archived")
    await lane.requeue((entry, "one"))

    assert await lane.operate("delete") == "ok"

    assert await lane.map("cancels") == {}
