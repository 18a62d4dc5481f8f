"""What can be done to a task, and in which of its states."""

from enum import StrEnum

from duly.engine.inspector import Inspector
from duly.task import TaskState


class Operation(StrEnum):
    """An operation on a task, by the name it has in addresses."""

    RUN = "run"
    ARCHIVE = "archive"
    DELETE = "delete"


ALLOWED: dict[TaskState, tuple[Operation, ...]] = {
    TaskState.WAITING: (Operation.ARCHIVE, Operation.DELETE),
    TaskState.ACTIVE: (),
    TaskState.SCHEDULED: (Operation.RUN, Operation.ARCHIVE, Operation.DELETE),
    TaskState.AGGREGATING: (Operation.RUN, Operation.ARCHIVE, Operation.DELETE),
    TaskState.RETRY: (Operation.RUN, Operation.ARCHIVE, Operation.DELETE),
    TaskState.ARCHIVED: (Operation.RUN, Operation.DELETE),
    TaskState.COMPLETED: (Operation.DELETE,),
    TaskState.QUARANTINED: (Operation.RUN, Operation.DELETE),
}
"""Which buttons a task has; the engine decides again, atomically, when one is pressed."""


async def operate(inspector: Inspector, operation: Operation, *, queue: str, task_id: str) -> None:
    """Do it.

    Raises:
        NotFoundError: The queue holds no such task (any more).
        IllegalTransitionError: The task has moved on to a state in which this does not apply.
    """
    match operation:
        case Operation.RUN:
            await inspector.run(queue, task_id)
        case Operation.ARCHIVE:
            await inspector.archive(queue, task_id)
        case Operation.DELETE:
            await inspector.delete(queue, task_id)
