"""Operations on many tasks: a snapshot first, then one after the other, within a cap.

The ids are collected before anything moves, since a list that shrinks while one pages through it
is only half worked off. Nothing is done in one long script: the broker stays free for others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from duly.engine.inspector import Inspector
from duly.engine.search import DEFAULT_WINDOW, Query, search
from duly.errors import IllegalTransitionError, NotFoundError
from duly.task import Task, TaskState

Operation = Literal["run", "archive", "delete", "cancel"]
DEFAULT_CAP = 10_000
_EVERY = 100
"""Tasks between two reports of progress."""
_ELIGIBLE: dict[str, frozenset[TaskState]] = {
    "run": frozenset(
        {TaskState.SCHEDULED, TaskState.RETRY, TaskState.ARCHIVED, TaskState.QUARANTINED}
    ),
    "archive": frozenset({TaskState.WAITING, TaskState.SCHEDULED, TaskState.RETRY}),
    "delete": frozenset(set(TaskState) - {TaskState.ACTIVE}),
    "cancel": frozenset({TaskState.ACTIVE}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a bulk operation would do: show it before it is done."""

    operation: Operation
    tasks: tuple[Task, ...]
    """Those that match and allow the operation, as they are now."""
    ineligible: int
    """Those that match and do not allow it."""
    complete: bool
    """False: more match than the cap or the window lets through."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a bulk operation is."""

    total: int
    done: int = 0
    gone: int = 0
    """Tasks that had left their state meanwhile; they were not touched."""


async def plan(
    inspector: Inspector,
    operation: Operation,
    query: Query,
    *,
    cap: int = DEFAULT_CAP,
    window: int = DEFAULT_WINDOW,
) -> Plan:
    """Collect what the operation would be done to; change nothing.

    Args:
        inspector: Where the tasks are.
        operation: What would be done.
        query: Which tasks.
        cap: Most tasks that one operation may touch.
        window: Most tasks to look at.
    """
    found = await search(inspector, query, limit=cap, window=window)
    eligible = tuple(task for task in found.tasks if task.state in _ELIGIBLE[operation])
    return Plan(
        operation=operation,
        tasks=eligible,
        ineligible=len(found.tasks) - len(eligible),
        complete=found.complete,
    )


async def carry_out(
    inspector: Inspector, planned: Plan, *, report: Callable[[Progress], None] = lambda _: None
) -> Progress:
    """Do what was planned; return how it went.

    A task that has moved on meanwhile is counted as gone and left alone.

    Raises:
        BrokerDownError: The broker is away; what was done stays done, and planning again
            continues where this ended.
    """
    progress = Progress(total=len(planned.tasks))
    operate = {
        "run": inspector.run,
        "archive": inspector.archive,
        "delete": inspector.delete,
        "cancel": inspector.cancel,
    }[planned.operation]
    for number, task in enumerate(planned.tasks, 1):
        try:
            await operate(task.queue, task.id)
        except (NotFoundError, IllegalTransitionError):
            progress.gone += 1
        else:
            progress.done += 1
        if number % _EVERY == 0:
            report(progress)
    report(progress)
    return progress
