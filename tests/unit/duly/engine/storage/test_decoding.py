"""What the broker says of a task, in the words of this release, of older and of newer ones."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.storage.attempts import attempts_of
from duly.engine.storage.codec import encode_attempt
from duly.engine.storage.decoding import task_from
from duly.task import Attempt, AttemptOutcome, TaskState

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FAILED = Attempt(
    number=1,
    outcome=AttemptOutcome.FAILED,
    at=NOON - timedelta(minutes=1),
    started_at=NOON - timedelta(minutes=2),
    waiting_since=NOON - timedelta(minutes=3),
    error="ValueError: no",
)
SUCCEEDED = Attempt(
    number=2,
    outcome=AttemptOutcome.SUCCEEDED,
    at=NOON,
    started_at=NOON - timedelta(seconds=3),
    waiting_since=NOON - timedelta(seconds=9),
    duration=timedelta(seconds=3),
    server="worker-1",
    trace_id="ab" * 16,
)
BEFORE = b'{"number":1,"outcome":"failed","at":1777636740000,"error":"ValueError: no"}'
"""As a release before this one has written it."""


def kept(*lines, state=TaskState.COMPLETED, tries=b"1 0"):
    due_ms = (NOON + timedelta(hours=1)).timestamp() * 1000
    return task_from(
        queue="lane", task_id="one", state=state, data=None, tries=tries,
        history=b"\n".join(lines), score_ms=due_ms,
    )  # fmt: skip


def test_a_completed_task_tells_its_attempts_and_when_it_ended():
    task = kept(encode_attempt(SUCCEEDED), encode_attempt(FAILED))

    assert task.success == SUCCEEDED
    assert task.history == (FAILED,)
    assert task.ended_attempts == (SUCCEEDED, FAILED)
    assert (task.ended_at, task.due_at) == (NOON, NOON + timedelta(hours=1))
    assert task.enqueued_at == FAILED.waiting_since


def test_what_an_older_release_has_completed_can_be_read():
    task = kept(BEFORE)

    assert task.success is None
    assert [attempt.error for attempt in task.history] == ["ValueError: no"]
    assert (task.ended_at, task.enqueued_at) == (None, None)


@pytest.mark.parametrize("line", [b'{"number":2,"outcome":"of tomorrow","at":1}', b"{}", b"no"])
def test_lines_of_another_release_are_skipped(line):
    """As an older one does with a success, which it does not know."""
    assert attempts_of(line + b"\n" + encode_attempt(FAILED)) == (FAILED,)


def test_after_a_crash_nobody_knows_when_a_task_was_enqueued():
    assert kept(encode_attempt(FAILED), tries=b"1 1").enqueued_at is None


def test_a_task_that_ended_otherwise_ended_when_its_place_says():
    task = kept(encode_attempt(FAILED), state=TaskState.ARCHIVED)

    assert task.ended_at == NOON + timedelta(hours=1)
    assert task.enqueued_at == FAILED.waiting_since


def test_a_success_takes_little_room():
    assert len(encode_attempt(SUCCEEDED)) < 220
