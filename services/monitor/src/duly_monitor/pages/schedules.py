"""The schedules: what is due when, what became of it, and operations on an entry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection import health
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.shared_reading import SharedReading
from duly.engine.storage.reports import EntryReport, TickOutcome, TickReport
from duly.errors import NotFoundError
from duly.task import TaskState
from duly_monitor.audit import act_of
from duly_monitor.bounds import EntryPath, addressed
from duly_monitor.pages.flash import flash, redirect
from duly_monitor.reads import read_all
from duly_monitor.render import Renderer, Shown
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


@dataclass(slots=True)
class _Ticks:
    """The newest ticks of an entry, for as long as its counts stay what they are."""

    counts: tuple[object, ...]
    ticks: Sequence[TickReport]
    latest: TickReport | None
    """The newest one that enqueued a task."""
    became: tuple[str, str] = ("", "")


class SchedulePages:
    """Answers for `/schedules`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer
        self._rows = SharedReading[None, Shown](lambda _: self._read())
        self._ticks: dict[str, _Ticks] = {}

    async def schedules(self, request: Request) -> Response:
        """Show every entry of the timetable."""
        shown = await self._rows.get(None)
        return self._renderer.page("schedules.html", shown=shown, flash=flash(request))

    def followed(self, _request: Request) -> Followed:
        """Return the page as one that is followed."""
        return Followed("schedules", self._view)

    async def _view(self) -> View:
        return self._renderer.view("_schedules.html", **(await self._rows.get(None)).values)

    def forget(self) -> None:
        """Have the entries read anew: something was changed."""
        self._rows.forget()

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

    async def _read(self) -> Shown:
        entries = (await self._inspector.overview.recent()).entries
        now, known = self._renderer.clock.now(), {entry.id for entry in entries}
        self._ticks = {name: kept for name, kept in self._ticks.items() if name in known}
        return Shown({"rows": await read_all([self._row(entry, now) for entry in entries])})

    async def _row(self, entry: EntryReport, now: datetime) -> EntryRow:
        kept = await self._ticks_of(entry)
        latest = kept.latest
        if latest is not None and kept.became is not _ENDED:
            kept.became = await self._became(entry.queue, latest.task_id)
        entry = replace(entry, last=kept.ticks[0] if kept.ticks else None)
        return EntryRow(entry, kept.ticks, health.is_overdue(entry, now), latest, kept.became)

    async def _ticks_of(self, entry: EntryReport) -> "_Ticks":
        """Return the newest ticks of an entry; they are read when its counts have changed."""
        counts = _counts(entry)
        kept = self._ticks.get(entry.id)
        if kept is not None and kept.counts == counts:
            return kept
        try:
            ticks = await self._inspector.schedules.ticks(
                entry.id, limit=SHOWN_TICKS, queue=entry.queue
            )
        except NotFoundError:  # removed since the list was read
            ticks = ()
        enqueued = (tick for tick in ticks if tick.outcome in _ENQUEUED and tick.task_id)
        found = self._ticks[entry.id] = _Ticks(counts, ticks, next(enqueued, None))
        return found

    async def _became(self, queue: str, task_id: str) -> tuple[str, str]:
        try:
            task = await self._inspector.tasks.get(queue, task_id)
        except NotFoundError:
            return _ENDED
        return _WORDS[task.state]


def _counts(entry: EntryReport) -> tuple[object, ...]:
    """Return what changes with each tick of an entry."""
    return (
        entry.queue, entry.next_slot, entry.enqueued, entry.skipped, entry.paused, entry.missed,
        entry.caught_up, entry.triggered,
    )  # fmt: skip
