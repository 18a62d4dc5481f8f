"""Operations on many tasks: a snapshot first, then chunk by chunk, within a cap.

The ids are collected before anything moves, since a list that shrinks while one pages through it
is only half worked off. Nothing is done in one long script: the broker stays free for others.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from duly.engine.abreast import AT_ONCE, abreast
from duly.engine.inspector import Inspector
from duly.engine.reports import GroupReport
from duly.engine.search import DEFAULT_WINDOW, Query, search
from duly.errors import BrokerDownError, DulyError, IllegalTransitionError, NotFoundError
from duly.task import Task, TaskState

Operation = Literal["run", "archive", "delete", "cancel"]
DEFAULT_CAP = 10_000
_PAGE = 500
"""Tasks of a group that are read at once."""
ELIGIBLE: dict[Operation, tuple[TaskState, ...]] = {
    "run": (
        TaskState.ARCHIVED,
        TaskState.QUARANTINED,
        TaskState.RETRY,
        TaskState.SCHEDULED,
        TaskState.AGGREGATING,
    ),
    "archive": (
        TaskState.WAITING,
        TaskState.SCHEDULED,
        TaskState.RETRY,
        TaskState.AGGREGATING,
    ),
    "delete": tuple(state for state in TaskState if state is not TaskState.ACTIVE),
    "cancel": (TaskState.ACTIVE,),
}
"""Operation → the states that it applies to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a bulk operation would do: show it before it is done."""

    operation: Operation
    tasks: tuple[Task, ...]
    """Those that match and allow the operation, as they are now."""
    ineligible: int
    """Those that match and do not allow it."""
    scanned: int
    """Tasks that were looked at."""
    total: int
    """Tasks that there were to look at."""
    complete: bool
    """False: more may match than the cap or the window let through."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a bulk operation is."""

    total: int
    done: int = 0
    gone: int = 0
    """Tasks that had left their state meanwhile; they were not touched."""
    failed: int = 0
    """Tasks that the broker refused to move."""
    error: str = ""
    """Why it refused the last of them."""


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
    eligible = tuple(task for task in found.tasks if task.state in ELIGIBLE[operation])
    return Plan(
        operation=operation,
        tasks=eligible,
        ineligible=len(found.tasks) - len(eligible),
        scanned=found.scanned,
        total=found.total,
        complete=found.complete,
    )


async def plan_group(
    inspector: Inspector,
    operation: Literal["run", "archive", "delete"],
    group: GroupReport,
    *,
    cap: int = DEFAULT_CAP,
) -> Plan:
    """Collect the tasks of a group, oldest first; change nothing.

    Each of them is operated on for itself: those that run do so singly, not merged. A server that
    merges the group meanwhile either has a task or finds it gone and looks again: none is merged
    and operated on.
    """
    tasks: list[Task] = []
    cursor: str | None = None
    while len(tasks) < cap:
        page = await inspector.group_tasks(
            group.queue,
            group.kind,
            group.name,
            limit=min(_PAGE, cap - len(tasks)),
            cursor=cursor,
            newest=False,
        )
        tasks, cursor = [*tasks, *page.tasks], page.next_cursor
        if cursor is None:
            break
    total = max(group.size, len(tasks))
    return Plan(
        operation=operation, tasks=tuple(tasks), ineligible=0,
        scanned=len(tasks), total=total, complete=cursor is None or len(tasks) == total,
    )  # fmt: skip


async def carry_out(
    inspector: Inspector,
    planned: Plan,
    *,
    outcome: Literal["archive", "delete", "retry"] = "archive",
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Do what was planned; return how it went.

    A task that has moved on meanwhile is counted as gone and left alone.

    Args:
        inspector: Where the tasks are.
        planned: What to do to which of them.
        outcome: What becomes of those that are cancelled.
        report: Called after each hundred.

    Raises:
        BrokerDownError: The broker is away; what was done stays done, and planning again
            continues where this ended.
    """
    progress = Progress(total=len(planned.tasks))
    operations: dict[Operation, Callable[[str, str], Awaitable[None]]] = {
        "run": inspector.run,
        "archive": inspector.archive,
        "delete": inspector.delete,
        "cancel": partial(inspector.cancel, outcome=outcome),
    }
    operate = operations[planned.operation]
    for start in range(0, len(planned.tasks), AT_ONCE):
        chunk = planned.tasks[start : start + AT_ONCE]
        for error in await abreast(operate(task.queue, task.id) for task in chunk):
            _count(progress, error)
        report(progress)
    return progress


def _count(progress: Progress, error: DulyError | None) -> None:
    """Count how one task went.

    Raises:
        BrokerDownError: It went no way at all.
    """
    if error is None:
        progress.done += 1
    elif isinstance(error, NotFoundError | IllegalTransitionError):
        progress.gone += 1
    elif isinstance(error, BrokerDownError):
        raise error
    else:
        progress.failed, progress.error = progress.failed + 1, str(error)
