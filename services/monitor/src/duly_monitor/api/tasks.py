"""Tasks as JSON."""

from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly.errors import UnknownKindError
from duly_monitor.api.described import described, read_body, reply
from duly_monitor.api.models import ReceiptAnswer, TaskAnswer, TaskListAnswer
from duly_monitor.audit import act_of
from duly_monitor.bounds import ListQuery, QueuePath, TaskIdPath, addressed, asked, listed
from duly_monitor.operations import CancelOutcome, Operation, operate


class NewRerun(BaseModel):
    """A task that has ended, run once more."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    changes: dict[str, Any] = Field(
        default_factory=dict, description="fields of the payload that are to be different"
    )
    queue: str | None = Field(None, description="where the new task runs; null: in the same queue")
    reason: str = Field("", max_length=500, description="why, for the audit")


class NewCancel(BaseModel):
    """How a task is cancelled."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    outcome: CancelOutcome = Field(
        "archive", description="what becomes of the task once its handler has ended"
    )
    reason: str = Field("", max_length=500, description="why, for the audit")


class TaskApi:
    """Answers for `/api/v1/queues/{name}/tasks` and `/api/v1/tasks/…`."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    @described(
        "List the tasks of a queue in one state, newest first",
        TaskListAnswer,
        path=QueuePath,
        query=ListQuery,
        errors=(400, 404),
    )
    async def tasks(self, request: Request) -> Response:
        """Return a page of tasks."""
        name, query = addressed(QueuePath, request).name, asked(ListQuery, request)
        await self._inspector.queues.get(name)
        page = await listed(self._inspector, name, query.state, query)
        tasks = [TaskAnswer.of(task) for task in page.tasks]
        return reply(TaskListAnswer(tasks=tasks, next_cursor=page.next_cursor))

    @described("Show one task", TaskAnswer, path=TaskIdPath, errors=(404,))
    async def task(self, request: Request) -> Response:
        """Return one task from whichever queue holds it."""
        path = addressed(TaskIdPath, request)
        return reply(TaskAnswer.of(await self._inspector.tasks.find(path.task_id)))

    @described(
        "Re-queue a task and reset attempts", ReceiptAnswer, path=TaskIdPath, errors=(403, 404, 409)
    )
    async def run(self, request: Request) -> Response:
        """Re-queue the task."""
        return await self._operate(request, Operation.RUN)

    @described("Archive a task", ReceiptAnswer, path=TaskIdPath, errors=(403, 404, 409))
    async def archive(self, request: Request) -> Response:
        """Archive the task."""
        return await self._operate(request, Operation.ARCHIVE)

    @described("Delete a task", ReceiptAnswer, path=TaskIdPath, errors=(403, 404, 409))
    async def delete(self, request: Request) -> Response:
        """Delete the task."""
        return await self._operate(request, Operation.DELETE)

    @described(
        "Cancel an active task; it is archived, deleted or retried",
        ReceiptAnswer,
        path=TaskIdPath,
        body=NewCancel,
        errors=(400, 404, 409, 413),
    )
    async def cancel(self, request: Request) -> Response:
        """Cancel the task."""
        wanted = await read_body(NewCancel, request)
        act = act_of(request)
        act.reason, act.detail = wanted.reason, f"outcome: {wanted.outcome}"
        return await self._operate(request, Operation.CANCEL, wanted.outcome)

    @described(
        "Run an ended, scheduled or retry task once more, as a new one",
        TaskAnswer,
        path=TaskIdPath,
        body=NewRerun,
        errors=(400, 404, 409, 413),
    )
    async def rerun(self, request: Request) -> Response:
        """Return the new task. Idempotent."""
        task_id, wanted = addressed(TaskIdPath, request).task_id, await read_body(NewRerun, request)
        act = act_of(request)
        act.reason, act.detail = wanted.reason, f"fields: {', '.join(wanted.changes)}"
        task = await self._inspector.tasks.find(task_id)
        catalogue = {}
        with suppress(UnknownKindError):
            catalogue = {task.kind: await self._inspector.kinds.job(task.kind)}
        new = await self._inspector.tasks.rerun(
            task.queue, task_id, changes=wanted.changes or None, to_queue=wanted.queue,
            catalogue=catalogue,
        )  # fmt: skip
        return reply(TaskAnswer.of(new))

    async def _operate(
        self, request: Request, operation: Operation, outcome: CancelOutcome = "archive"
    ) -> Response:
        task_id = addressed(TaskIdPath, request).task_id
        queue = (await self._inspector.tasks.find(task_id)).queue
        await operate(self._inspector, operation, queue=queue, task_id=task_id, outcome=outcome)
        return reply(ReceiptAnswer(operation=operation.value, queue=queue, task_id=task_id))
