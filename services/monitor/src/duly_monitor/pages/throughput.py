"""What queues did in the last hour, day, three days and ninety days, from the engine's counters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.history import Course
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.overview import Snapshot
from duly.engine.inspection.shared_reading import SharedReading
from duly.engine.storage.reports import MinuteReport
from duly_monitor.bounds import Query, asked
from duly_monitor.pages.minutes import finished, total
from duly_monitor.render import Renderer, Shown


class Span(StrEnum):
    """How far back a chart goes, as addresses say it."""

    HOUR = "1h"
    DAY = "24h"
    THREE_DAYS = "72h"
    QUARTER = "90d"


_HOURS: Final = {Span.DAY: 24, Span.THREE_DAYS: 72}
_STEPS: Final = {Span.DAY: timedelta(minutes=10), Span.THREE_DAYS: timedelta(minutes=30)}
"""What one point of a chart stands for."""
Series = Sequence[MinuteReport]
"""Points, oldest first; each holds what was done from its instant on for one step."""


class ThroughputQuery(Query):
    """How far back."""

    span: Span = Span.DAY


@dataclass(frozen=True, slots=True)
class QueueSum:
    """What one queue did in the whole span."""

    name: str
    processed: int
    failed: int

    @property
    def failed_share(self) -> float:
        """Of its attempts, 0 to 1."""
        return self.failed / self.processed if self.processed else 0.0


class ThroughputPages:
    """Answers for `/throughput`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer
        self._shown = SharedReading(self._read)

    async def throughput(self, request: Request) -> Response:
        """Show what all queues did together, and what each did."""
        span = asked(ThroughputQuery, request).span
        return self._renderer.page("throughput.html", shown=await self._shown.get(span))

    async def _read(self, span: Span) -> Shown:
        """Return what all queues did."""
        snapshot = await self._inspector.overview.recent()
        names = [each.name for each in snapshot.queues]
        if span is Span.HOUR:
            course = _last_hour(snapshot)
        else:
            course = await read_course(self._inspector, names, span, snapshot)
        sums = [QueueSum(name, *course.sums.get(name, (0, 0))) for name in names]
        return Shown({"span": span.value, "minutes": course.points, "sums": sums})


async def read_course(
    inspector: Inspector, queues: Sequence[str], span: Span, snapshot: Snapshot | None = None
) -> Course:
    """Return what queues did in one of the longer spans.

    A point that is not over yet is left out, since it looks like a drop; today is not.

    Args:
        inspector: Reads it.
        queues: Their names.
        span: Not the hour.
        snapshot: What all queues do now; None: it is read, for few queues.

    Raises:
        BrokerDownError: The broker does not answer.
    """
    if span is Span.QUARTER:
        reports = None if snapshot is None else snapshot.queues
        return await inspector.history.days(queues, reports=reports)
    minutes = None if snapshot is None else snapshot.minutes
    return await inspector.history.hours(
        queues, hours=_HOURS[span], step=_STEPS[span], minutes=minutes
    )


def _last_hour(snapshot: Snapshot) -> Course:
    found = dict(zip(snapshot.minutes, finished([*snapshot.minutes.values()]), strict=True))
    sums = {
        name: (sum(each.processed for each in series), sum(each.failed for each in series))
        for name, series in found.items()
    }
    return Course(total([*found.values()]), sums)
