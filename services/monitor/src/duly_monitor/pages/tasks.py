"""The tasks: those that failed for good, and one with its whole history."""

from datetime import UTC, datetime
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspector import Inspector
from duly.engine.reports import QueueReport
from duly.task import Task, TaskState
from duly_monitor.bounds import LimitQuery, TaskPath, addressed, asked
from duly_monitor.operations import ALLOWED, Operation, operate
from duly_monitor.pages.flash import flash, redirect
from duly_monitor.render import Renderer

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class TaskPages:
    """Answers for `/failures` and `/tasks/…`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def failures(self, request: Request) -> Response:
        """Show the newest archived tasks of all queues."""
        limit = asked(LimitQuery, request).limit
        reports = [report for report in await self._inspector.queues() if report.archived]
        tasks = await self._archived(reports, limit)
        return self._renderer.page(
            "failures.html",
            flash=flash(request),
            tasks=tasks,
            allowed=ALLOWED,
            queues=reports,
            total=sum(report.archived for report in reports),
            dropped=sum(report.archive_dropped for report in reports),
        )

    async def task(self, request: Request) -> Response:
        """Show one task, whole."""
        path = addressed(TaskPath, request)
        task = await self._inspector.task(path.queue, path.task_id)
        return self._renderer.page(
            "task.html", flash=flash(request), task=task, allowed=ALLOWED[task.state]
        )

    async def run(self, request: Request) -> Response:
        """Make the task wait again."""
        return await self._operate(request, Operation.RUN)

    async def archive(self, request: Request) -> Response:
        """Archive the task."""
        return await self._operate(request, Operation.ARCHIVE)

    async def delete(self, request: Request) -> Response:
        """Delete the task."""
        return await self._operate(request, Operation.DELETE)

    async def _operate(self, request: Request, operation: Operation) -> Response:
        path = addressed(TaskPath, request)
        # Our forms have one short field; the gate has bounded the body.
        form = parse_qs((await request.body()).decode("ascii", "replace"), max_num_fields=8)
        await operate(self._inspector, operation, queue=path.queue, task_id=path.task_id)
        if form.get("back") == ["failures"]:
            return redirect(f"{self._renderer.prefix}/failures", operation.value)
        # The task itself may be gone by now, so its queue is what can be shown for certain.
        return redirect(f"{self._renderer.prefix}/queues/{path.queue}", operation.value)

    async def _archived(self, reports: list[QueueReport], limit: int) -> list[Task]:
        tasks: list[Task] = []
        for report in reports:
            page = await self._inspector.tasks(report.name, TaskState.ARCHIVED, limit=limit)
            tasks += page.tasks
        tasks.sort(key=lambda task: task.ended_at or _LONG_AGO, reverse=True)
        return tasks[:limit]
