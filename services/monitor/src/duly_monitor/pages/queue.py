"""One queue: its tasks state by state, and what can be done to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection import health
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.removal import QueueInUseError
from duly.engine.inspection.shared_reading import SharedReading
from duly.engine.storage.reports import QueueReport
from duly.task import Task, TaskState
from duly_monitor.audit import act_of
from duly_monitor.bounds import QueuePath, addressed, asked
from duly_monitor.forms import address_of, form_of, returning
from duly_monitor.operations import ALLOWED, PERMISSIONS, label
from duly_monitor.pages.flash import flash, redirect
from duly_monitor.pages.queries import QueueQuery
from duly_monitor.pages.rows import Rows
from duly_monitor.permissions import identity_of
from duly_monitor.render import Renderer, Shown, segment
from duly_monitor.search_words import SearchSyntaxError, said, understand
from duly_monitor.series import Span, read_series
from duly_monitor.views import Followed, View

_MOST_RELEVANT = (
    TaskState.ARCHIVED,
    TaskState.RETRY,
    TaskState.ACTIVE,
    TaskState.SCHEDULED,
    TaskState.AGGREGATING,
)
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a list that a page shows, and the addresses of its neighbours."""

    tasks: Sequence[Task]
    start: int
    """How many come before it."""
    total: int
    first: str = ""
    previous: str = ""
    next: str = ""
    last: str = ""


class QueuePage:
    """Answers for `/queues/{name}` and what is below it."""

    def __init__(self, inspector: Inspector, renderer: Renderer, rows: Rows) -> None:
        self._inspector, self._renderer, self._rows = inspector, renderer, rows
        self._shown = SharedReading(self._read, share=0)

    def forget(self) -> None:
        """Have queues read anew: something was changed."""
        self._shown.forget()

    async def queue(self, request: Request) -> Response:
        """Show one queue and a part of its tasks in one state."""
        name = addressed(QueuePath, request).name
        query = asked(QueueQuery, request)
        shown = await self._shown.get((name, query, "state" in request.query_params))
        return self._renderer.page(
            "queue.html",
            status=400 if shown.values["problem"] else 200,
            shown=shown,
            flash=flash(request),
            permissions=identity_of(request).permissions,
            back=address_of(request),
        )

    def followed(self, request: Request) -> Followed:
        """Return the page as one that is followed."""
        name, query = addressed(QueuePath, request).name, asked(QueueQuery, request)
        return Followed(_followed_address(name, query), partial(self._view, name, query))

    async def _view(self, name: str, query: QueueQuery) -> View:
        shown = await self._shown.get((name, query, True))
        return self._renderer.view("queue.html", **shown.values, permissions=(), back="")

    async def _read(self, asked_for: tuple[str, QueueQuery, bool]) -> Shown:
        """Return what the page shows to everybody, of the state that counts unless one is named."""
        name, query, named = asked_for
        report = await self._inspector.queues.get(name)
        if not named:
            query = query.model_copy(update={"state": _initial_state(report)})
        listed, now = await self._listed(name, query, report), self._renderer.clock.now()
        oldest = report.oldest_waiting
        return Shown(
            {
                **listed,
                "queue": report,
                "waits_since": None if oldest is None else _whole_second(now - oldest),
                "health": health.of_queue(report, now),
                "minutes": await read_series(self._inspector, name, query.span),
                "span": query.span.value,
                "spans": _address({"state": query.state.value, "q": query.q}) + "&span=",
                "states": [(each, getattr(report, each.value)) for each in TaskState],
                "state": query.state,
                "query": query,
                "rows": await self._rows.of(listed["part"].tasks, query.shown_columns),
                "actions": [
                    (each, label(each, query.state), PERMISSIONS[each].value)
                    for each in ALLOWED[query.state]
                ],
                "turned": _turned(query),
                "others": await self._inspector.queues.names(),
                "address": _followed_address(name, query),
            }
        )

    async def pause(self, request: Request) -> Response:
        """Pause the queue for a reason, and show where one was."""
        name, form = addressed(QueuePath, request).name, await form_of(request)
        reason = form.one("reason").strip()[:_LONGEST_REASON]
        act_of(request).reason = reason
        await self._inspector.queues.get(name)
        await self._inspector.queues.pause(name, by=identity_of(request).user, reason=reason)
        return self._back(name, form.one("back"), "pause")

    async def resume(self, request: Request) -> Response:
        """Resume the queue, and show where one was."""
        name, form = addressed(QueuePath, request).name, await form_of(request)
        await self._inspector.queues.get(name)
        await self._inspector.queues.resume(name)
        return self._back(name, form.one("back"), "resume")

    async def ask_removal(self, request: Request) -> Response:
        """Ask whether the queue is to be removed, with all that it holds."""
        report = await self._inspector.queues.get(addressed(QueuePath, request).name)
        return self._renderer.page("remove_queue.html", queue=report, problem="")

    async def remove(self, request: Request) -> Response:
        """Remove the queue, if its name was typed, and show all others."""
        name, form = addressed(QueuePath, request).name, await form_of(request)
        report = await self._inspector.queues.get(name)
        if form.one("name") != name:
            problem = f"Type the queue's name, {name}, to remove it."
            return self._renderer.page(
                "remove_queue.html", status=400, queue=report, problem=problem
            )
        act_of(request).reason = form.one("reason").strip()[:_LONGEST_REASON]
        try:
            act_of(request).count = await self._inspector.queues.remove(name, force=True)
            self._inspector.history.forget(name)
        except QueueInUseError as error:
            problem = f"{str(error)[:1].upper()}{str(error)[1:]}."
            return self._renderer.page(
                "remove_queue.html", status=409, queue=report, problem=problem
            )
        return redirect(f"{self._renderer.prefix}/", "remove")

    def _back(self, name: str, back: str, done: str) -> Response:
        prefix = self._renderer.prefix
        return redirect(returning(back, prefix=prefix, otherwise=f"{prefix}/queues/{name}"), done)

    async def _listed(self, name: str, query: QueueQuery, report: QueueReport) -> dict[str, Any]:
        """Return what the page's list shows: a part in order, or what matches a filter."""
        total = getattr(report, query.state.value)
        words = said(query.q, queues=(name,), states=(query.state,))
        shown: dict[str, Any] = {
            "problem": None,
            "found": None,
            "words": words,
            "part": Part((), 0, total),
        }
        if not query.q.strip():
            return shown | {"part": await self._part(name, query, total)}
        try:
            search = understand(words, self._renderer.clock.now())
        except SearchSyntaxError as error:
            return shown | {"problem": error}
        found = await self._inspector.tasks.search(
            search.query, limit=query.limit, window=query.window
        )
        return shown | {"found": found, "part": Part(found.tasks, 0, len(found.tasks))}

    async def _part(self, name: str, query: QueueQuery, total: int) -> Part:
        """Return the part of a list in its order; backwards it is read in the opposite one.

        Raises:
            HTTPException: 400, when a cursor is invalid.
        """
        backwards = query.last or query.before is not None
        limit = (total % query.limit or query.limit) if query.last else query.limit
        try:
            page = await self._inspector.tasks.list(
                name, query.state, limit=limit, newest=query.newest != backwards,
                cursor=None if query.last else query.before or query.cursor,
            )  # fmt: skip
        except ValueError as error:
            problem = "cursor: must be one of a page of the same list; go to its first page"
            raise HTTPException(400, problem) from error
        tasks = page.tasks[::-1] if backwards else page.tasks
        following, preceding = page.next_cursor, page.previous_cursor
        if backwards:
            following, preceding = preceding, following
        start = query.at
        if query.last:
            start, following = max(0, total - len(tasks)), None
        elif backwards:
            start = max(0, query.at - len(tasks))
        end = start + len(tasks)
        same: dict[str, object] = {
            "state": query.state.value, "order": query.order, "columns": query.columns,
            "span": "" if query.span is Span.HOUR else query.span.value,
        }  # fmt: skip
        if "limit" in query.model_fields_set:
            same["limit"] = query.limit
        return Part(
            tasks, start, max(total, end),
            first=_address(same) if start else "",
            previous=_address(same, before=preceding, at=start) if start and preceding else "",
            next=_address(same, cursor=following, at=end) if following else "",
            last=_address(same, last=1) if following and end < total else "",
        )  # fmt: skip


def _followed_address(name: str, query: QueueQuery) -> str:
    """Return the page's address below the prefix, the same for all who ask for the same."""
    asked_for = query.model_dump(mode="json", exclude_defaults=True)
    asked_for["state"] = query.state.value
    return f"queues/{segment(name)}?{urlencode(sorted(asked_for.items()))}"


def _whole_second(at: datetime) -> datetime:
    """Round an instant, which is reckoned anew each second, so that it does not tremble."""
    return datetime.fromtimestamp(round(at.timestamp()), UTC)


def _turned(query: QueueQuery) -> str:
    """Return the address of the same list in the opposite order."""
    order = "oldest" if query.newest else "newest"
    return _address({"state": query.state.value, "order": order, "columns": query.columns})


def _address(same: dict[str, object], **more: object) -> str:
    return "?" + urlencode({name: value for name, value in (same | more).items() if value})


def _initial_state(report: QueueReport) -> TaskState:
    """Return the state to show first: what failed, else what runs, else what waits."""
    for state in _MOST_RELEVANT:
        if getattr(report, state.value):
            return state
    return TaskState.WAITING
