"""The queues: an overview of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.overview import Snapshot
from duly.engine.storage.reports import MinuteReport, QueueReport
from duly_monitor import health
from duly_monitor.pages.flash import flash
from duly_monitor.pages.minutes import finished
from duly_monitor.render import Renderer


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue as the overview shows it."""

    report: QueueReport
    health: health.Health
    minutes: Sequence[MinuteReport]


class QueuePages:
    """Answers for `/`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def overview(self, request: Request) -> Response:
        """Show every queue."""
        return self._renderer.page("queues.html", flash=flash(request), **await self._read())

    async def overview_fragment(self) -> str:
        """Return the part of the overview that updates itself."""
        return self._renderer.text("_queues.html", **await self._read())

    async def _read(self) -> dict[str, Any]:
        snapshot, now = await self._inspector.overview.recent(), self._renderer.clock.now()
        facts = health.around(snapshot.entries, snapshot.servers, snapshot.brokers, now)
        shown = _overview(_rows(snapshot, now))
        return shown | {"facts": facts, "overall": health.with_facts(shown["overall"], facts)}


def _rows(snapshot: Snapshot, now: datetime) -> list[QueueRow]:
    """Return every queue, by name: a row that needs attention is marked, and stays in place."""
    minutes = finished([snapshot.minutes[report.name] for report in snapshot.queues])
    return [
        QueueRow(report, health.of_queue(report, now), each)
        for report, each in zip(snapshot.queues, minutes, strict=True)
    ]


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


def _total(queues: list[Sequence[MinuteReport]]) -> Sequence[MinuteReport]:
    """Sum the figures of all queues for each minute, oldest first."""
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
