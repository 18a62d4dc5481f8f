"""Tasks as JSON."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from starlette.requests import Request

from duly.engine.inspection.inspector import Inspector
from duly.job import Job
from duly.task import Task
from duly_monitor.api.described import described, read_body
from duly_monitor.api.models import (
    Answer,
    ReasonedBody,
    ReceiptAnswer,
    TaskAnswer,
    TaskListAnswer,
)
from duly_monitor.api.tables import TASK_COLUMNS, Table
from duly_monitor.audit import act_of
from duly_monitor.bounds import ListQuery, QueuePath, TaskIdPath, addressed, asked, listed
from duly_monitor.guarded import permit
from duly_monitor.operations import CancelOutcome, Operation, catalogue_of, operate
from duly_monitor.payloads import escaped


class NewRerun(ReasonedBody):
    """A task that has ended, run once more."""

    changes: dict[str, Any] = Field(
        default_factory=dict, description="fields of the payload that are to be different"
    )
    queue: str | None = Field(None, description="where the new task runs; null: in the same queue")


class NewEdit(ReasonedBody):
    """Another payload for a task that has not begun yet."""

    changes: dict[str, Any] = Field(
        min_length=1, description="fields of the payload that are to be different"
    )


class NewCancel(ReasonedBody):
    """How a task is cancelled."""

    outcome: CancelOutcome = Field(
        "archive", description="what becomes of the task once its handler has ended"
    )


class MessageAnswer(Answer):
    """The message of a task as it lies in the broker."""

    id: str
    queue: str
    size: int = Field(description="bytes")
    text: str = Field(description="what is no printable ASCII is escaped; 4,096 bytes at most")


class TaskApi:
    """Answers for `/api/v1/queues/{name}/tasks` and `/api/v1/tasks/…`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described(
        "List the tasks of a queue in one state",
        TaskListAnswer,
        path=QueuePath,
        query=ListQuery,
        errors=(400, 404),
        table=Table("tasks", "tasks", TASK_COLUMNS),
    )
    async def tasks(self, request: Request) -> Answer:
        """Return a page of tasks."""
        name, query = addressed(QueuePath, request).name, asked(ListQuery, request)
        await self._inspector.queues.get(name)
        page = await listed(self._inspector, name, query.state, query)
        tasks = [TaskAnswer.of(task) for task in page.tasks]
        return TaskListAnswer(tasks=tasks, next_cursor=page.next_cursor)

    @described("Show one task", TaskAnswer, path=TaskIdPath, errors=(404,))
    async def task(self, request: Request) -> Answer:
        """Return one task from whichever queue holds it."""
        path = addressed(TaskIdPath, request)
        return TaskAnswer.of(await self._inspector.tasks.find(path.task_id))

    @described("Show the bytes of a task's message", MessageAnswer, path=TaskIdPath, errors=(404,))
    async def message(self, request: Request) -> Answer:
        """Return what lies in the broker, for messages that cannot be read."""
        task = await self._inspector.tasks.find(addressed(TaskIdPath, request).task_id)
        data = await self._inspector.tasks.message(task.queue, task.id)
        return MessageAnswer(id=task.id, queue=task.queue, size=len(data), text=escaped(data))

    @described(
        "Re-queue a task and reset attempts", ReceiptAnswer, path=TaskIdPath, errors=(403, 404, 409)
    )
    async def run(self, request: Request) -> Answer:
        """Re-queue the task."""
        return await self._operate(request, Operation.RUN)

    @described("Archive a task", ReceiptAnswer, path=TaskIdPath, errors=(403, 404, 409))
    async def archive(self, request: Request) -> Answer:
        """Archive the task."""
        return await self._operate(request, Operation.ARCHIVE)

    @described("Delete a task", ReceiptAnswer, path=TaskIdPath, errors=(403, 404, 409))
    async def delete(self, request: Request) -> Answer:
        """Delete the task."""
        return await self._operate(request, Operation.DELETE)

    @described(
        "Cancel an active task; it is archived, deleted or retried",
        ReceiptAnswer,
        path=TaskIdPath,
        body=NewCancel,
        errors=(400, 403, 404, 409, 413),
    )
    async def cancel(self, request: Request) -> Answer:
        """Cancel the task."""
        wanted = await read_body(NewCancel, request)
        act_of(request).reason = wanted.reason
        permit(request, Operation.CANCEL, wanted.outcome)
        return await self._operate(request, Operation.CANCEL, wanted.outcome)

    @described(
        "Run an ended, scheduled or retry task once more, as a new one",
        TaskAnswer,
        path=TaskIdPath,
        body=NewRerun,
        errors=(400, 404, 409, 413),
    )
    async def rerun(self, request: Request) -> Answer:
        """Return the new task. Idempotent."""
        wanted = await read_body(NewRerun, request)
        task, catalogue = await self._to_change(request, wanted)
        new = await self._inspector.tasks.rerun(
            task.queue, task.id, changes=wanted.changes or None, to_queue=wanted.queue,
            catalogue=catalogue,
        )  # fmt: skip
        return TaskAnswer.of(new)

    @described(
        "Change the payload of a scheduled or retry task",
        TaskAnswer,
        path=TaskIdPath,
        body=NewEdit,
        errors=(400, 404, 409, 413),
    )
    async def edit(self, request: Request) -> Answer:
        """Return the task as it is now. Idempotent."""
        wanted = await read_body(NewEdit, request)
        task, catalogue = await self._to_change(request, wanted)
        edited = await self._inspector.tasks.edit(
            task.queue, task.id, wanted.changes, catalogue=catalogue
        )
        return TaskAnswer.of(edited)

    async def _to_change(
        self, request: Request, wanted: NewRerun | NewEdit
    ) -> tuple[Task, Mapping[str, type[Job]]]:
        """Return the task whose payload is to be different, and what checks it."""
        act = act_of(request)
        act.reason, act.detail = wanted.reason, f"fields: {', '.join(wanted.changes)}"
        task = await self._inspector.tasks.find(addressed(TaskIdPath, request).task_id)
        return task, await catalogue_of(self._inspector, task.kind)

    async def _operate(
        self, request: Request, operation: Operation, outcome: CancelOutcome = "archive"
    ) -> Answer:
        task_id = addressed(TaskIdPath, request).task_id
        queue = (await self._inspector.tasks.find(task_id)).queue
        await operate(self._inspector, operation, queue=queue, task_id=task_id, outcome=outcome)
        return ReceiptAnswer(operation=operation.value, queue=queue, task_id=task_id)
