from datetime import UTC, datetime, timedelta

from duly.engine.inspection.failures import Example, Tally, shares
from duly.task import Attempt, AttemptOutcome, Task, TaskState

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def grouped(tasks):
    tally = Tally(NOON + timedelta(hours=2))
    for task in tasks:
        tally.add(task)
    return tally.reports()


def failed(error, *, traceback="", kind="check", at=NOON, queue="default"):
    attempt = Attempt(
        number=1, outcome=AttemptOutcome.FAILED, at=at, error=error, traceback=traceback
    )
    return Task(
        id=error[:8] + str(at.timestamp()),
        queue=queue,
        kind=kind,
        state=TaskState.ARCHIVED,
        ended_at=at,
        history=(attempt,),
    )


def test_groups_count_and_name_first_last_and_newest():
    later = NOON + timedelta(hours=1)
    tasks = [
        failed("Gone: order 1"),
        failed("Gone: order 2", at=later, queue="low"),
        failed("Lost: x"),
    ]

    first, second = grouped(tasks)

    assert (first.count, first.first, first.last) == (2, NOON, later)
    assert first.error == "Gone: order 2"
    assert first.queues == ("default", "low")
    assert first.example == Example(id=tasks[1].id, queue="low")
    assert second.count == 1
    assert (len(first.hours), first.hours[-3:]) == (24, (1, 1, 0))


def test_a_task_without_history_has_a_group_too():
    bare = Task(id="x", queue="q", kind="k", state=TaskState.ARCHIVED, ended_at=NOON)

    (group,) = grouped([bare])

    assert group.error == ""


def test_a_queue_full_of_failures_does_not_hide_those_of_others():
    sizes = {("noisy", "archived"): 300_000, ("quiet", "archived"): 12, ("none", "archived"): 0}

    assert list(shares(sizes, 1_000).values()) == [0, 12, 988]
    assert list(shares(sizes, 10).values()) == [0, 5, 5]
