"""What queues did in the last hour, day, three days and ninety days, from the engine's counters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from duly.engine.inspection.history import Course
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.overview import Snapshot
from duly.engine.storage.reports import MinuteReport
from duly.errors import BrokerDownError, BrokerError, NotFoundError

SHOWN_MINUTES = 60
"""How far back the charts of minutes go."""


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


@dataclass(frozen=True, slots=True)
class QueueSum:
    """What one queue did in the whole span and until now."""

    name: str
    processed: int
    failed: int

    @property
    def failed_share(self) -> float:
        """Of its attempts, 0 to 1."""
        return self.failed / self.processed if self.processed else 0.0


async def read_all_series(inspector: Inspector, span: Span) -> tuple[Series, list[QueueSum]]:
    """Return what all queues did together, and what each did.

    Raises:
        BrokerDownError: The broker does not answer.
    """
    snapshot = await inspector.overview.recent()
    names = [each.name for each in snapshot.queues]
    if span is Span.HOUR:
        course = _last_hour(snapshot)
    else:
        course = await _course(inspector, names, span, snapshot)
    return course.points, [QueueSum(name, *course.sums.get(name, (0, 0))) for name in names]


async def read_series(inspector: Inspector, queue: str, span: Span) -> Series:
    """Return what a queue did; nothing of a queue that cannot be read.

    Raises:
        BrokerDownError: The broker does not answer.
    """
    if span is Span.HOUR:
        return finished([await read_minutes(inspector, queue)])[0]
    return (await _course(inspector, [queue], span)).points


async def read_minutes(inspector: Inspector, queue: str) -> Series:
    """Return one minute more than is shown, oldest first; none of a queue that cannot be read.

    Raises:
        BrokerDownError: The broker does not answer.
    """
    try:
        return await inspector.queues.minutes(queue, count=SHOWN_MINUTES + 1)
    except (BrokerError, NotFoundError) as error:
        if isinstance(error, BrokerDownError):
            raise
        return ()  # the report of this queue says what is wrong with it


def finished(queues: Sequence[Series]) -> list[Series]:
    """Leave out the current minute once another has figures: a partial one looks like a drop."""
    known = any(minute.processed for minutes in queues for minute in minutes[:-1])
    return [minutes[:-1] if known else minutes[1:] for minutes in queues]


def total(queues: Sequence[Series]) -> Series:
    """Sum up queues, point by point, oldest first."""
    points: dict[datetime, list[MinuteReport]] = {}
    for series in queues:
        for point in series:
            points.setdefault(point.at, []).append(point)
    return [
        MinuteReport(
            at=at,
            processed=sum(point.processed for point in each),
            failed=sum(point.failed for point in each),
        )
        for at, each in sorted(points.items())
    ]


async def _course(
    inspector: Inspector, queues: Sequence[str], span: Span, snapshot: Snapshot | None = None
) -> Course:
    """Return what queues did in one of the longer spans.

    A point that is not over yet is left out, since it looks like a drop; today is not. Sums hold
    what has been done until now. What all queues do now is in the snapshot; without one, it is
    read, for few queues.
    """
    if span is Span.QUARTER:
        reports = None if snapshot is None else snapshot.queues
        return await inspector.history.days(queues, reports=reports)
    minutes = None if snapshot is None else snapshot.minutes
    return await inspector.history.hours(
        queues, hours=_HOURS[span], step=_STEPS[span], minutes=minutes
    )


def _last_hour(snapshot: Snapshot) -> Course:
    sums = {
        name: (sum(each.processed for each in series), sum(each.failed for each in series))
        for name, series in snapshot.minutes.items()
    }
    return Course(total(finished([*snapshot.minutes.values()])), sums)
