from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.storage.reports import RunningTask
from duly.task import Attempt, AttemptOutcome, Task, TaskState
from duly_monitor.timeline import (
    deadline_of,
    ended_at,
    enqueued_at,
    events_of,
    most_runs,
    runs_of,
)

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def minutes(number):
    return NOON + timedelta(minutes=number)


def attempt(number, at, outcome=AttemptOutcome.FAILED):
    return Attempt(number=number, outcome=outcome, at=at, server="w", error="E: x")


def task(state, **more):
    return Task(id="t", queue="q", kind="k", state=state, **more)


def whats(events):
    return [event.what for event in events]


def test_a_retried_task_tells_what_was_and_what_comes():
    retried = task(
        TaskState.RETRY, attempts=2, due_at=minutes(9), enqueued_at=NOON,
        history=(attempt(2, minutes(5)), attempt(1, minutes(1), AttemptOutcome.TIMED_OUT)),
    )  # fmt: skip

    events = events_of(retried, None, {})

    assert whats(events) == [
        "enqueued", "attempt 1 timed out", "attempt 2 failed", "attempt 3 is due",
    ]  # fmt: skip
    assert [event.tone for event in events] == ["note", "bad", "bad", "warn"]
    assert events[-1].at == minutes(9)


@pytest.mark.parametrize(("stuck", "said"), [(False, "is running"), (True, "still runs")])
def test_a_running_task_says_since_when_and_whether_it_is_stuck(stuck, said):
    running = RunningTask(id="t", kind="k", queue="q", started_at=NOON, stuck=stuck)

    last = events_of(task(TaskState.ACTIVE, server="w"), running, {})[-1]

    assert said in last.what
    assert (last.at, last.server) == (NOON, "w")


@pytest.mark.parametrize("state", list(TaskState))
def test_every_state_has_a_last_line(state):
    assert whats(events_of(task(state), None, {}))[-1]


@pytest.mark.parametrize(
    ("labels", "policy", "ended"),
    [
        pytest.param({"retention_ms": 60_000}, {}, minutes(-1), id="the-call"),
        pytest.param({}, {"retention": "PT1H"}, minutes(-60), id="the-policy"),
        pytest.param({}, {}, None, id="nobody"),
        pytest.param({"retention_ms": "x"}, {"retention": ["x"]}, None, id="a-stranger"),
    ],
)
def test_the_end_of_a_completed_task_follows_from_its_retention(labels, policy, ended):
    completed = task(TaskState.COMPLETED, due_at=NOON, labels=labels)

    assert ended_at(completed, policy) == ended


def test_what_waits_anew_was_not_enqueued_when_it_began_to():
    again = task(TaskState.WAITING, enqueued_at=minutes(9), history=(attempt(1, minutes(1)),))

    assert enqueued_at(again) is None
    assert enqueued_at(task(TaskState.WAITING, enqueued_at=NOON)) == NOON


def test_where_the_first_attempt_says_since_when_it_waited_that_is_known():
    first = replace(attempt(1, minutes(1)), waiting_since=minutes(0))
    again = task(TaskState.WAITING, enqueued_at=minutes(9), history=(first,))

    assert enqueued_at(again) == minutes(0)


def test_a_success_has_its_line_with_its_server_and_its_time():
    success = replace(
        attempt(2, minutes(3)), outcome=AttemptOutcome.SUCCEEDED, server="w-1",
        duration=timedelta(seconds=8),
    )  # fmt: skip
    completed = task(
        TaskState.COMPLETED, due_at=minutes(60), success=success, history=(attempt(1, minutes(1)),)
    )

    *_, failed, done, removed = events_of(completed, None, {})

    assert (failed.what, failed.tone) == ("attempt 1 failed", "bad")
    assert (done.what, done.tone, done.at) == ("attempt 2 succeeded", "ok", minutes(3))
    assert (done.server, done.took) == ("w-1", timedelta(seconds=8))
    assert removed.at == minutes(60)


def test_runs_count_the_one_that_runs_or_succeeded():
    assert [runs_of(task(state, attempts=2)) for state in ("retry", "active", "completed")] == [
        2, 3, 3,
    ]  # fmt: skip
    assert most_runs(task(TaskState.RETRY), {"max_attempts": 5}) == 5
    assert most_runs(task(TaskState.RETRY, max_attempts=2), {"max_attempts": 5}) == 2
    assert most_runs(task(TaskState.RETRY), {"max_attempts": True}) == 0


@pytest.mark.parametrize("label", [None, "x", True, -1, 2**60, 1.5])
def test_a_deadline_that_is_none_is_not_shown(label):
    assert deadline_of(task(TaskState.RETRY, labels={"deadline_ms": label})) is None
