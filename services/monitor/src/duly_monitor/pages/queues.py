"""The queues: all at a glance, and one with its tasks."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspector import Inspector
from duly.engine.reports import MinuteReport, QueueReport
from duly.task import TaskState
from duly_monitor import health
from duly_monitor.bounds import ListQuery, QueuePath, addressed, asked, listed
from duly_monitor.operations import ALLOWED
from duly_monitor.pages.flash import flash, redirect
from duly_monitor.render import Renderer

SHOWN_MINUTES = 60
"""How far back the charts go."""
_WORTH_SEEING = (
    TaskState.ARCHIVED,
    TaskState.RETRY,
    TaskState.ACTIVE,
    TaskState.SCHEDULED,
    TaskState.AGGREGATING,
)


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue as the overview shows it."""

    report: QueueReport
    health: health.Health
    minutes: list[MinuteReport]


class QueuePages:
    """Answers for `/` and `/queues/…`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def overview(self, request: Request) -> Response:
        """Show every queue."""
        rows = await self._rows()
        return self._renderer.page("queues.html", flash=flash(request), **_overview(rows))

    async def overview_fragment(self) -> str:
        """Return the part of the overview that updates itself."""
        return self._renderer.text("_queues.html", **_overview(await self._rows()))

    async def queue(self, request: Request) -> Response:
        """Show one queue and a page of its tasks in one state."""
        name = addressed(QueuePath, request).name
        query = asked(ListQuery, request)
        report = await self._inspector.queue(name)
        state = query.state
        if "state" not in request.query_params:
            state = _worth_seeing(report)
        page = await listed(self._inspector, name, state, query)
        more = None
        if page.next_cursor:
            following = {"state": state.value, "limit": query.limit, "cursor": page.next_cursor}
            more = urlencode(following)
        return self._renderer.page(
            "queue.html",
            flash=flash(request),
            queue=report,
            health=health.of_queue(report, self._renderer.clock.now()),
            minutes=_finished([await self._minutes(name)])[0],
            states=[(each, getattr(report, each.value)) for each in TaskState],
            state=state,
            tasks=page.tasks,
            allowed=ALLOWED,
            more=more,
            first=query.cursor is None,
        )

    async def pause(self, request: Request) -> Response:
        """Pause the queue, and show it."""
        name = addressed(QueuePath, request).name
        await self._inspector.queue(name)
        await self._inspector.pause(name)
        return redirect(f"{self._renderer.prefix}/queues/{name}", "pause")

    async def resume(self, request: Request) -> Response:
        """Resume the queue, and show it."""
        name = addressed(QueuePath, request).name
        await self._inspector.queue(name)
        await self._inspector.resume(name)
        return redirect(f"{self._renderer.prefix}/queues/{name}", "resume")

    async def _minutes(self, name: str) -> list[MinuteReport]:
        return await self._inspector.minutes(name, count=SHOWN_MINUTES + 1)

    async def _rows(self) -> list[QueueRow]:
        """Read every queue; those that need somebody come first."""
        now = self._renderer.clock.now()
        reports = await self._inspector.queues()
        minutes = _finished([await self._minutes(report.name) for report in reports])
        rows = [
            QueueRow(report, health.of_queue(report, now), each)
            for report, each in zip(reports, minutes, strict=True)
        ]
        urgent = health.Level.WARN.rank
        return sorted(
            rows,
            key=lambda row: (
                row.health.level.rank if row.health.level.rank <= urgent else urgent + 1,
                row.report.name,
            ),
        )


def _overview(rows: list[QueueRow]) -> dict[str, Any]:
    """Return what the overview's template reads."""
    return {
        "rows": rows,
        "overall": health.overall({row.report.name: row.health for row in rows}),
        "minutes": _total([row.minutes for row in rows]),
        "sums": {
            "waiting": sum(row.report.waiting for row in rows),
            "active": sum(row.report.active for row in rows),
            "slots": sum(row.report.concurrency for row in rows),
            "archived": sum(row.report.archived for row in rows),
            "processed": sum(row.report.processed_per_minute for row in rows),
            "failed": sum(row.report.failed_per_minute for row in rows),
            "oldest": max(
                (row.report.oldest_waiting or timedelta(0) for row in rows), default=timedelta(0)
            ),
        },
    }


def _total(queues: list[list[MinuteReport]]) -> list[MinuteReport]:
    """Add up what all queues did in each minute, oldest first."""
    processed: dict[object, int] = {}
    failed: dict[object, int] = {}
    minutes = {minute.at: minute for queue in queues for minute in queue}
    for queue in queues:
        for minute in queue:
            processed[minute.at] = processed.get(minute.at, 0) + minute.processed
            failed[minute.at] = failed.get(minute.at, 0) + minute.failed
    return [
        MinuteReport(at=at, processed=processed[at], failed=failed[at]) for at in sorted(minutes)
    ]


def _finished(queues: list[list[MinuteReport]]) -> list[list[MinuteReport]]:
    """Leave the running minute out once another one has figures: half of it looks like a fall."""
    told = any(minute.processed for minutes in queues for minute in minutes[:-1])
    return [minutes[:-1] if told else minutes[1:] for minutes in queues]


def _worth_seeing(report: QueueReport) -> TaskState:
    """Return the state to open with: what went wrong, else what runs, else what waits."""
    for state in _WORTH_SEEING:
        if getattr(report, state.value):
            return state
    return TaskState.WAITING
