"""The queues: an overview of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import MinuteReport, QueueReport
from duly_monitor import health
from duly_monitor.pages.flash import flash
from duly_monitor.pages.minutes import finished, read_minutes
from duly_monitor.reads import read_all
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
        rows, facts = await self._rows(), await self._facts()
        shown = _overview(rows)
        return shown | {"facts": facts, "overall": health.with_facts(shown["overall"], facts)}

    async def _facts(self) -> list[health.Fact]:
        """Read what serves the queues."""
        return health.around(
            await self._inspector.schedules.list(),
            await self._inspector.servers.list(),
            await self._inspector.brokers.list(),
            self._renderer.clock.now(),
        )

    async def _rows(self) -> list[QueueRow]:
        """Read every queue, by name: a row that needs attention is marked, and stays in place."""
        now = self._renderer.clock.now()
        reports = await self._inspector.queues.list()
        minutes = finished(
            await read_all([read_minutes(self._inspector, report.name) for report in reports])
        )
        return [
            QueueRow(report, health.of_queue(report, now), each)
            for report, each in zip(reports, minutes, strict=True)
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
