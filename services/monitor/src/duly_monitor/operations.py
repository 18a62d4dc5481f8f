"""The operations on tasks: the states that allow them, and what a page calls them."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Final, Literal, get_args

from duly import task as engine
from duly.engine.inspection.inspector import Inspector
from duly.errors import UnknownKindError
from duly.extras import MissingExtraError
from duly.job import Job
from duly.payload_schema import SchemaUnreadableError
from duly.task import Task, TaskState
from duly_monitor.permissions import Permission


class Operation(StrEnum):
    """An operation on a task, by the name it has in addresses."""

    RUN = "run"
    CANCEL = "cancel"
    ARCHIVE = "archive"
    DELETE = "delete"


CancelOutcome = Literal["archive", "retry", "delete"]
OUTCOMES: tuple[CancelOutcome, ...] = get_args(CancelOutcome)
"""What may become of a task that is cancelled."""


ALLOWED: dict[TaskState, tuple[Operation, ...]] = {
    state: tuple(each for each in Operation if state in engine.ALLOWED[each.value])
    for state in TaskState
}
"""The buttons that a task has; the engine checks again, atomically, when one is pressed."""
PERMISSIONS: Final = {
    Operation.RUN: Permission.RUN_TASKS,
    Operation.CANCEL: Permission.CANCEL_TASKS,
    Operation.ARCHIVE: Permission.ARCHIVE_TASKS,
    Operation.DELETE: Permission.DELETE_TASKS,
}
"""What an operation takes, on one task or on many."""
_OF_OUTCOMES: Final[Mapping[CancelOutcome, Permission]] = {
    "archive": Permission.CANCEL_TASKS,
    "retry": Permission.RUN_TASKS,
    "delete": Permission.DELETE_TASKS,
}
_FAILED = (TaskState.ARCHIVED, TaskState.RETRY, TaskState.QUARANTINED)


def taken_by(operation: Operation, outcome: CancelOutcome) -> tuple[Permission, ...]:
    """Return the permissions that an operation takes; cancelling those of its outcome as well."""
    if operation is Operation.CANCEL:
        return PERMISSIONS[operation], _OF_OUTCOMES[outcome]
    return (PERMISSIONS[operation],)


def outcomes_for(permissions: Collection[Permission]) -> tuple[CancelOutcome, ...]:
    """Return what somebody may let become of a task that is cancelled."""
    return tuple(each for each in OUTCOMES if _OF_OUTCOMES[each] in permissions)


def label(operation: Operation, state: TaskState | None = None) -> str:
    """Return what a button says; running what has failed is called a retry."""
    if operation is Operation.RUN:
        return "Retry" if state is None or state in _FAILED else "Run now"
    return operation.value.capitalize()


def ticked(task: Task) -> str:
    """Return the text by which forms name a task as it was seen: `state/ms/queue/id`.

    The ms are those of when it ended, so that one that has ended anew since is told from it.
    """
    return f"{task.state.value}/{task.ended_score_ms}/{task.queue}/{task.id}"


async def catalogue_of(inspector: Inspector, kind: str) -> Mapping[str, type[Job]]:
    """Return what checks payloads of a kind; nothing where nobody has published it."""
    with suppress(UnknownKindError, SchemaUnreadableError, MissingExtraError):
        return {kind: await inspector.kinds.job(kind)}
    return {}


async def operate(
    inspector: Inspector,
    operation: Operation,
    *,
    queue: str,
    task_id: str,
    outcome: CancelOutcome = "archive",
) -> None:
    """Carry out an operation; `outcome` is what becomes of a task that is cancelled.

    Raises:
        NotFoundError: The queue holds no such task, or no longer.
        DuplicateTaskError: It is unique, and another task holds its lock.
        IllegalTransitionError: The task has moved on to a state in which this does not apply.
    """
    match operation:
        case Operation.RUN:
            await inspector.tasks.run(queue, task_id)
        case Operation.CANCEL:
            await inspector.tasks.cancel(queue, task_id, outcome=outcome)
        case Operation.ARCHIVE:
            await inspector.tasks.archive(queue, task_id)
        case Operation.DELETE:
            await inspector.tasks.delete(queue, task_id)
