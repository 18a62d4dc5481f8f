"""The queues: an overview of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection import health
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.overview import Snapshot
from duly.engine.storage.reports import MinuteReport, QueueReport
from duly_monitor.bounds import asked
from duly_monitor.pages.flash import flash
from duly_monitor.pages.queries import SHOWN_QUEUES, OverviewQuery
from duly_monitor.render import Renderer, Shown
from duly_monitor.series import finished, total
from duly_monitor.views import Followed, View


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue as the overview shows it."""

    report: QueueReport
    health: health.Health
    minutes: Sequence[MinuteReport]
    waits_since: datetime | None = None
    """When its oldest waiting task was added."""


class QueuePages:
    """Answers for `/`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer
        self._read_of: Snapshot | None = None
        self._shown: dict[int, Shown] = {}

    async def overview(self, request: Request) -> Response:
        """Show the queues, a hundred a page."""
        number = asked(OverviewQuery, request).page
        shown = await self._read(number)
        return self._renderer.page("queues.html", shown=shown, flash=flash(request))

    def followed(self, request: Request) -> Followed:
        """Return the overview as a page that is followed."""
        number = asked(OverviewQuery, request).page
        return Followed(f"queues?page={number}", partial(self._view, number))

    async def _view(self, number: int) -> View:
        return self._renderer.view("_queues.html", **(await self._read(number)).values)

    async def _read(self, number: int) -> Shown:
        """Return what is shown of a snapshot, once for all who see that one."""
        snapshot = await self._inspector.overview.recent()
        if snapshot is not self._read_of:
            self._read_of, self._shown = snapshot, {}
        number = min(number, max(1, -(-len(snapshot.queues) // SHOWN_QUEUES)))
        if number not in self._shown:
            self._shown[number] = Shown(self._values(snapshot, number))
        return self._shown[number]

    def _values(self, snapshot: Snapshot, number: int) -> dict[str, Any]:
        now = self._renderer.clock.now()
        facts = health.around(snapshot.entries, snapshot.servers, snapshot.brokers, now)
        rows = _rows(snapshot, now)
        shown = _overview(rows)
        last = max(1, -(-len(rows) // SHOWN_QUEUES))
        start = (number - 1) * SHOWN_QUEUES
        return shown | {
            "facts": facts,
            "overall": health.with_facts(shown["overall"], facts),
            "rows": rows[start : start + SHOWN_QUEUES],
            "start": start,
            "total": len(rows),
            "number": number,
            "last": last,
        }


def _rows(snapshot: Snapshot, now: datetime) -> list[QueueRow]:
    """Return every queue, by name: a row that needs attention is marked, and stays in place."""
    minutes = finished([snapshot.minutes[report.name] for report in snapshot.queues])
    return [
        QueueRow(report, health.of_queue(report, now), each, _since(snapshot, report))
        for report, each in zip(snapshot.queues, minutes, strict=True)
    ]


def _since(snapshot: Snapshot, report: QueueReport) -> datetime | None:
    return None if report.oldest_waiting is None else snapshot.at - report.oldest_waiting


def _overview(rows: list[QueueRow]) -> dict[str, Any]:
    """Return what the overview's template reads."""
    return {
        "rows": rows,
        "overall": health.overall({row.report.name: row.health for row in rows}),
        "minutes": total([row.minutes for row in rows]),
        "sums": {
            "waiting": sum(row.report.waiting for row in rows),
            "active": sum(row.report.active for row in rows),
            "slots": sum(row.report.concurrency for row in rows),
            "archived": sum(row.report.archived for row in rows),
            "processed": sum(row.report.processed_per_minute for row in rows),
            "failed": sum(row.report.failed_per_minute for row in rows),
            "waits_since": min((row.waits_since for row in rows if row.waits_since), default=None),
        },
    }
