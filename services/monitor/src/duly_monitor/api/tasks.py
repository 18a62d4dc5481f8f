"""Tasks as JSON."""

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspector import Inspector
from duly_monitor.api.described import described, reply
from duly_monitor.api.models import ReceiptAnswer, TaskAnswer, TaskListAnswer
from duly_monitor.bounds import ListQuery, QueuePath, TaskIdPath, addressed, asked, listed
from duly_monitor.operations import Operation, operate


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
        await self._inspector.queue(name)
        page = await listed(self._inspector, name, query.state, query)
        tasks = [TaskAnswer.of(task) for task in page.tasks]
        return reply(TaskListAnswer(tasks=tasks, next_cursor=page.next_cursor))

    @described("Show one task", TaskAnswer, path=TaskIdPath, errors=(404,))
    async def task(self, request: Request) -> Response:
        """Return one task from whichever queue holds it."""
        path = addressed(TaskIdPath, request)
        return reply(TaskAnswer.of(await self._inspector.find(path.task_id)))

    @described("Run a task again, or now", ReceiptAnswer, path=TaskIdPath, errors=(403, 404, 409))
    async def run(self, request: Request) -> Response:
        """Make the task wait again."""
        return await self._operate(request, Operation.RUN)

    @described("Archive a task", ReceiptAnswer, path=TaskIdPath, errors=(403, 404, 409))
    async def archive(self, request: Request) -> Response:
        """Archive the task."""
        return await self._operate(request, Operation.ARCHIVE)

    @described("Delete a task", ReceiptAnswer, path=TaskIdPath, errors=(403, 404, 409))
    async def delete(self, request: Request) -> Response:
        """Delete the task."""
        return await self._operate(request, Operation.DELETE)

    async def _operate(self, request: Request, operation: Operation) -> Response:
        task_id = addressed(TaskIdPath, request).task_id
        queue = (await self._inspector.find(task_id)).queue
        await operate(self._inspector, operation, queue=queue, task_id=task_id)
        return reply(ReceiptAnswer(operation=operation.value, queue=queue, task_id=task_id))
