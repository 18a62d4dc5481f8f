"""operate.lua and cancel.lua: what an operator may do in each state, by `duly.task.LEGAL`."""

import pytest

from duly.engine.storage.scripts import NewTask
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
    stream_id = await lane.active(lock="digest")
    if state is not TaskState.ACTIVE:
        await lane.end(stream_id, destination=state.value, in_ms=60_000, lock="digest", result=b"1")


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
        assert ("digest" in await lane.map("locks")) == (operation == "run")
    else:
        assert answer == state.value
        assert (await lane.places(), await lane.stream(), await lane.map("locks")) == before


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("seen", TaskState)
async def test_a_task_that_has_moved_on_since_it_was_seen_is_left_alone(lane, state, seen):
    await bring(lane, state)
    before = await lane.places(), await lane.stream(), await lane.map("locks")

    answer = await lane.operate("delete", lock="digest", seen_state=seen.value)

    if state is seen and state is not TaskState.ACTIVE:
        assert (answer, await lane.places()) == ("ok", {})
    else:
        assert answer == state.value
        assert (await lane.places(), await lane.stream(), await lane.map("locks")) == before


@pytest.mark.parametrize("operation", ["run", "delete"])
async def test_a_task_that_has_ended_anew_since_it_was_seen_is_left_alone(lane, operation):
    await bring(lane, TaskState.ARCHIVED)
    seen = {"seen_state": "archived", "seen_ms": lane.now}
    lane.now += 1
    await lane.operate("run")
    await lane.end((await lane.claim())[0].stream_id)

    assert await lane.operate(operation, **seen) == "archived"
    assert await lane.places() == {"one": "archived"}
    assert await lane.operate(operation, seen_state="archived", seen_ms=lane.now) == "ok"


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
    await lane.end(await lane.active(), destination="retry", tries="3 1")
    await lane.move()

    await lane.operate("archive")

    assert await lane.map("tries") == {"one": b"3 1"}
    assert await lane.places() == {"one": "archived"}


async def test_a_delete_does_not_free_anothers_lock(lane):
    await lane.add("one", unique("two"))

    await lane.operate("delete", lock="digest")

    assert set(await lane.map("locks")) == {"digest"}


async def test_a_quarantined_foreign_task_leaves_nothing_when_it_has_run(lane):
    await lane.store.register("lane")
    await lane.command("XADD", lane.keys.stream, "*", "data", b"not JSON")
    (delivery,) = await lane.claim()
    stand_in = delivery.stream_id.decode()
    await lane.end(delivery.stream_id, stand_in, destination="quarantined")

    assert await lane.operate("run", stand_in) == "ok"

    (again,) = await lane.claim()
    await lane.end(again.stream_id, again.stream_id.decode(), destination="quarantined")
    assert await lane.places() == {again.stream_id.decode(): "quarantined"}


async def test_a_double_kept_under_a_stand_in_gets_its_name_back(lane):
    await lane.add("one")
    ours = (await lane.claim())[0]
    await lane.command("XADD", lane.keys.stream, "*", "data", ours.data)
    (double,) = await lane.claim()
    await lane.end(double.stream_id, "one")
    stand_in = f"one#{double.stream_id.decode()}"
    await lane.finish((ours.stream_id, "one"))

    assert await lane.operate("run", stand_in) == "ok"

    assert await lane.places() == {"one": "waiting"}
    (again,) = await lane.claim()
    await lane.finish((again.stream_id, "one"))
    assert await lane.places() == {}


async def test_a_double_whose_name_is_taken_runs_without_one(lane):
    await lane.add("one")
    (ours,) = await lane.claim()
    await lane.command("XADD", lane.keys.stream, "*", "data", ours.data)
    (double,) = await lane.claim()
    await lane.end(double.stream_id, "one")

    assert await lane.operate("run", f"one#{double.stream_id.decode()}") == "ok"

    assert await lane.places() == {"one": "active"}
    assert len(await lane.stream()) == 2


@pytest.mark.parametrize("outcome", ["archived", "dropped", "retry"])
async def test_a_heartbeat_answers_a_cancel_until_the_task_is_settled(lane, outcome):
    stream_id = await lane.active()

    assert await lane.store.cancel("lane", task_id="one", outcome=outcome) == "ok"

    assert (await lane.beat())[5] == [b"one", outcome.encode()]
    await lane.end(stream_id, destination=outcome)
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
    stream_id = await lane.active()
    await lane.store.cancel("lane", task_id="one", outcome="archived")

    await lane.finish((stream_id, "one"))

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
    stream_id = await lane.active()
    await lane.store.cancel("lane", task_id="one", outcome="archived")
    await lane.requeue((stream_id, "one"))

    assert await lane.operate("delete") == "ok"

    assert await lane.map("cancels") == {}


@pytest.mark.parametrize("state", [TaskState.ARCHIVED, TaskState.QUARANTINED])
async def test_a_unique_task_does_not_run_beside_another_one(lane, state):
    await bring(lane, state)
    await lane.hold("digest")
    before = await lane.places()

    assert await lane.operate("run", lock="digest") == "locked other"

    assert await lane.places() == before
    lane.now += 1
    assert await lane.operate("run", lock="digest", lock_ttl_ms=500) == "ok"
    assert await lane.map("locks") == {"digest": f"{lane.now + 500} one".encode()}
    assert (await lane.add(NewTask(id="like", data=b"{}", lock="digest", lock_ttl_ms=9)))[
        0
    ] == "one"


async def test_a_task_that_holds_its_lock_keeps_it_when_it_runs_now(lane):
    task = NewTask(
        id="one", data=lane.message("one"), due_ms=lane.now + 9, lock="digest", lock_ttl_ms=70
    )
    await lane.add(task)

    assert await lane.operate("run", lock="digest", lock_ttl_ms=500) == "ok"
    assert await lane.map("locks") == {"digest": f"{lane.now + 70} one".encode()}


@pytest.mark.parametrize("operation", ["run", "archive", "delete"])
@pytest.mark.parametrize("record", [b"null", b"5", b'"x"', b"[]", b"zz", b'{"labels":7}'])
async def test_a_member_whose_record_is_no_message_can_be_operated_on(lane, operation, record):
    await bring(lane, TaskState.AGGREGATING)
    await lane.command("HSET", lane.keys.records, "one", record)

    assert await lane.operate(operation, lock="digest") == "ok"

    assert (await lane.map("index")).get("one") != b"aggregating"


@pytest.mark.parametrize("place", [b"zz", b"\xff", b"1-", b"a-b", b"", b"9" * 30 + b"-1"])
async def test_a_task_whose_place_is_none_can_be_deleted_and_is_not_active(lane, place):
    await lane.add("other")
    await lane.command("HSET", lane.keys.index, "one", place)
    cancel = await lane.store.cancel("lane", task_id="one", outcome="archived")

    assert cancel != "ok"
    assert await lane.operate("delete") == "ok"
    assert await lane.places() == {"other": "waiting"}
