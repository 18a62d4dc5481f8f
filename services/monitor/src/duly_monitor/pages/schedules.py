"""The schedules: what is due when, what became of it, and operations on an entry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import EntryReport, TickOutcome, TickReport
from duly.errors import NotFoundError
from duly.task import TaskState
from duly_monitor import health
from duly_monitor.audit import act_of
from duly_monitor.bounds import EntryPath, addressed
from duly_monitor.pages.flash import flash, redirect
from duly_monitor.reads import read_all
from duly_monitor.render import Renderer
from duly_monitor.views import Followed, View

SHOWN_TICKS = 12
"""Ticks shown for each entry."""
_WORDS = {
    TaskState.WAITING: ("waiting", "note"),
    TaskState.SCHEDULED: ("scheduled", "note"),
    TaskState.AGGREGATING: ("aggregating", "note"),
    TaskState.ACTIVE: ("running", "note"),
    TaskState.COMPLETED: ("succeeded", "ok"),
    TaskState.RETRY: ("failed, will be retried", "warn"),
    TaskState.ARCHIVED: ("failed", "bad"),
    TaskState.QUARANTINED: ("quarantined", "bad"),
}
_ENQUEUED = (TickOutcome.ENQUEUED, TickOutcome.CAUGHT_UP, TickOutcome.TRIGGERED)
_ENDED = ("ended, not kept", "note")
"""A task that succeeded is deleted unless its job has a retention."""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry as the page shows it."""

    entry: EntryReport
    ticks: Sequence[TickReport]
    overdue: bool
    latest: TickReport | None
    """The newest tick that enqueued a task."""
    became: tuple[str, str]
    """What became of that task, and its tone; empty without one."""


class SchedulePages:
    """Answers for `/schedules`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def schedules(self, request: Request) -> Response:
        """Show every entry of the timetable."""
        rows = await self._rows()
        return self._renderer.page("schedules.html", flash=flash(request), rows=rows)

    def followed(self, _request: Request) -> Followed:
        """Return the page as one that is followed."""
        return Followed("schedules", self._view)

    async def _view(self) -> View:
        return self._renderer.view("_schedules.html", rows=await self._rows())

    async def trigger(self, request: Request) -> Response:
        """Enqueue an entry's task now, beside its ticks."""
        entry = addressed(EntryPath, request).entry
        act_of(request).detail = "task " + await self._inspector.schedules.trigger(entry)
        return self._back("trigger")

    async def pause(self, request: Request) -> Response:
        """Let an entry's ticks pass without a task."""
        await self._inspector.schedules.pause(addressed(EntryPath, request).entry)
        return self._back("pause-entry")

    async def resume(self, request: Request) -> Response:
        """Let an entry's ticks enqueue again."""
        await self._inspector.schedules.resume(addressed(EntryPath, request).entry)
        return self._back("resume-entry")

    def _back(self, done: str) -> Response:
        return redirect(f"{self._renderer.prefix}/schedules", done)

    async def _rows(self) -> list[EntryRow]:
        entries, now = await self._inspector.schedules.list(), self._renderer.clock.now()
        return await read_all([self._row(entry, now) for entry in entries])

    async def _row(self, entry: EntryReport, now: datetime) -> EntryRow:
        try:
            ticks = await self._inspector.schedules.ticks(
                entry.id, limit=SHOWN_TICKS, queue=entry.queue
            )
        except NotFoundError:  # removed since the list was read
            ticks = ()
        enqueued = (tick for tick in ticks if tick.outcome in _ENQUEUED and tick.task_id)
        latest = next(enqueued, None)
        became = await self._became(entry.queue, latest.task_id) if latest else ("", "")
        return EntryRow(entry, ticks, health.is_overdue(entry, now), latest, became)

    async def _became(self, queue: str, task_id: str) -> tuple[str, str]:
        try:
            task = await self._inspector.tasks.get(queue, task_id)
        except NotFoundError:
            return _ENDED
        return _WORDS[task.state]
