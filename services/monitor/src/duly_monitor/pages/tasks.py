"""One task: what happened to it, and everything that can be done about it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from duly.engine.inspection.inspector import Inspector
from duly.errors import (
    MalformedTaskError,
    NotFoundError,
)
from duly.task import ALLOWED as ENGINE_ALLOWS
from duly.task import Task
from duly_monitor.audit import act_of
from duly_monitor.bounds import TaskPath, addressed
from duly_monitor.forms import address_of, form_of, returning
from duly_monitor.guarded import permit
from duly_monitor.links import Links
from duly_monitor.operations import (
    ALLOWED,
    PERMISSIONS,
    Operation,
    catalogue_of,
    label,
    operate,
    outcomes_for,
)
from duly_monitor.pages.bulk import outcome_of
from duly_monitor.pages.flash import flash, redirect
from duly_monitor.pages.rows import Rows
from duly_monitor.payloads import PayloadError, changes_in, escaped, typed
from duly_monitor.permissions import identity_of
from duly_monitor.problems import other_methods
from duly_monitor.render import Renderer, segment
from duly_monitor.timeline import deadline_of, ended_at, enqueued_at, events_of, most_runs, runs_of
from duly_monitor.views import Followed, View

_OPTIONS = frozenset({
    "max_attempts", "timeout_ms", "deadline_ms", "retention_ms", "unique_ms", "lock", "headers",
    "group", "origin", "replaced_by",
})  # fmt: skip
"""Labels that the page shows in words."""

_LONGEST_FORM = 6_000
"""Characters of a payload that can be edited: encoded, they have to fit into a request."""


class TaskPages:
    """Answers for `/tasks/…`."""

    def __init__(self, inspector: Inspector, renderer: Renderer, rows: Rows, links: Links) -> None:
        self._inspector, self._renderer = inspector, renderer
        self._rows, self._links = rows, links

    async def task(self, request: Request) -> Response:
        """Show one task with its history."""
        path = addressed(TaskPath, request)
        try:
            task = await self._inspector.tasks.get(path.queue, path.task_id)
        except NotFoundError:
            if other_methods(request):
                raise  # it was an action that was asked for
            return self._renderer.page(
                "task_gone.html", status=404, flash=flash(request), path=path
            )
        return self._renderer.page(
            "task.html",
            **await self._read(task),
            flash=flash(request),
            actions=[(each, label(each, task.state), PERMISSIONS[each].value)
                     for each in ALLOWED[task.state]],
            outcomes=outcomes_for(identity_of(request).permissions),
            editable=task.state in ENGINE_ALLOWS["edit"],
            rerunnable=task.state in ENGINE_ALLOWS["rerun"] and bool(task.kind),
            typed=_form_text(task),
            queues=await self._inspector.queues.names(),
            permissions=identity_of(request).permissions,
            back=address_of(request),
        )  # fmt: skip

    def followed(self, request: Request) -> Followed:
        """Return the page as one that is followed."""
        path = addressed(TaskPath, request)
        address = f"tasks/{segment(path.queue)}/{segment(path.task_id)}"
        return Followed(address, partial(self._view, path))

    async def _view(self, path: TaskPath) -> View:
        task = await self._inspector.tasks.get(path.queue, path.task_id)
        return self._renderer.view(
            "task.html", **await self._read(task), actions=(), outcomes=(), editable=False,
            rerunnable=False, typed="", queues=(), permissions=(), back="",
        )  # fmt: skip

    async def _read(self, task: Task) -> dict[str, Any]:
        """Return what the page shows to everybody."""
        policy = (await self._rows.policies([task.kind]))[task.kind]
        running = None
        if task.server:
            running = (await self._rows.running()).get((task.queue, task.id))
        return {
            "task": task,
            "running": running,
            "events": events_of(task, running, policy),
            "policy": policy,
            "runs": runs_of(task),
            "most": most_runs(task, policy),
            "enqueued": enqueued_at(task),
            "ended": ended_at(task, policy),
            "deadline": deadline_of(task),
            "options": _options(task, policy),
            "others": {name: value for name, value in task.labels.items() if name not in _OPTIONS},
            "links": self._links,
            "log_link": self._links.logs(task, None, self._renderer.clock.now()),
        }

    async def raw(self, request: Request) -> Response:
        """Show the bytes of a task's message, escaped and bounded."""
        path = addressed(TaskPath, request)
        data = await self._inspector.tasks.message(path.queue, path.task_id)
        return self._renderer.page("raw.html", path=path, size=len(data), text=escaped(data))

    async def run(self, request: Request) -> Response:
        """Re-queue the task."""
        return await self._operate(request, Operation.RUN)

    async def cancel(self, request: Request) -> Response:
        """Ask the task's worker to stop it."""
        return await self._operate(request, Operation.CANCEL)

    async def archive(self, request: Request) -> Response:
        """Archive the task."""
        return await self._operate(request, Operation.ARCHIVE)

    async def delete(self, request: Request) -> Response:
        """Delete the task."""
        return await self._operate(request, Operation.DELETE)

    async def rerun(self, request: Request) -> Response:
        """Run the task as a new one, with another payload or in another queue; show that."""
        path, form = addressed(TaskPath, request), await form_of(request)
        task = await self._inspector.tasks.get(path.queue, path.task_id)
        target = form.one("queue") or path.queue
        changes = _changes(task, form.one("payload", typed(task.payload)))
        act = act_of(request)
        act.reason, act.detail = form.one("reason").strip()[:500], f"fields: {', '.join(changes)}"
        try:
            new = await self._inspector.tasks.rerun(
                path.queue,
                path.task_id,
                changes=changes,
                to_queue=target,
                catalogue=await catalogue_of(self._inspector, task.kind),
            )
        except MalformedTaskError as error:
            raise HTTPException(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
        address = f"{self._renderer.prefix}/tasks/{segment(new.queue)}/{segment(new.id)}"
        return RedirectResponse(f"{address}?done=rerun", status_code=303)

    async def edit(self, request: Request) -> Response:
        """Change the payload of a task that has not begun yet."""
        path, form = addressed(TaskPath, request), await form_of(request)
        task = await self._inspector.tasks.get(path.queue, path.task_id)
        changes = _changes(task, form.one("payload"))
        act_of(request).detail = f"fields: {', '.join(changes)}"
        try:
            await self._inspector.tasks.edit(
                path.queue,
                path.task_id,
                changes,
                catalogue=await catalogue_of(self._inspector, task.kind),
            )
        except MalformedTaskError as error:
            raise HTTPException(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
        return redirect(self._address(path), "edit")

    def _address(self, path: TaskPath) -> str:
        return f"{self._renderer.prefix}/tasks/{segment(path.queue)}/{segment(path.task_id)}"

    async def _operate(self, request: Request, operation: Operation) -> Response:
        path, form = addressed(TaskPath, request), await form_of(request)
        outcome = outcome_of(form)
        permit(request, operation, outcome)
        await operate(
            self._inspector, operation, queue=path.queue, task_id=path.task_id, outcome=outcome
        )
        prefix, own = self._renderer.prefix, self._address(path)
        otherwise = own
        if operation is Operation.DELETE:
            # The task is gone: its own page would say so, and nothing else.
            otherwise = f"{prefix}/queues/{path.queue}"
        back = returning(form.one("back"), prefix=prefix, otherwise=otherwise)
        if operation is Operation.DELETE and back.partition("?")[0] == own:
            back = otherwise
        done = f"cancel-{outcome}" if operation is Operation.CANCEL else operation.value
        return redirect(back, done)


def _form_text(task: Task) -> str:
    """Return a payload to be edited; "" where it is too large for a form."""
    text = typed(task.payload)
    return text if len(text) <= _LONGEST_FORM else ""


def _changes(task: Task, text: str) -> dict[str, Any]:
    try:
        return changes_in(task.payload, text)
    except PayloadError as error:
        raise HTTPException(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from error


def _options(task: Task, policy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a task, its own before those of its kind, by the names of the API."""
    labels = task.labels
    return {
        "timeout_ms": labels.get("timeout_ms"),
        "timeout": policy.get("timeout"),
        "retention_ms": labels.get("retention_ms"),
        "retention": policy.get("retention"),
        "unique": bool(labels.get("lock")),
        "unique_ms": labels.get("unique_ms"),
        "headers": labels.get("headers") if isinstance(labels.get("headers"), dict) else {},
        "origin": _text(labels.get("origin")),
        "replaced_by": _text(labels.get("replaced_by")),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
