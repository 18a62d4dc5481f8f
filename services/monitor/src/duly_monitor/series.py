"""What queues did in the last hour, day, three days and ninety days, from the engine's counters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from duly.clock import from_unix_ms, to_unix_ms
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import DayReport, MinuteReport
from duly.errors import BrokerDownError, BrokerError, NotFoundError
from duly_monitor.reads import read_all


class Span(StrEnum):
    """How far back a chart goes, as addresses say it."""

    HOUR = "1h"
    DAY = "24h"
    THREE_DAYS = "72h"
    QUARTER = "90d"


_KEPT_MINUTES: Final = 72 * 60
_DAYS: Final = 90
_MINUTES: Final = {Span.HOUR: 60, Span.DAY: 24 * 60, Span.THREE_DAYS: 72 * 60}
_STEPS: Final = {
    Span.HOUR: timedelta(minutes=1),
    Span.DAY: timedelta(minutes=10),
    Span.THREE_DAYS: timedelta(minutes=30),
    Span.QUARTER: timedelta(days=1),
}
"""What one point of a chart stands for."""
Series = Sequence[MinuteReport]
"""Points, oldest first; each holds what was done from its instant on for one step."""


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


async def read_all_series(inspector: Inspector, span: Span) -> tuple[Series, list[QueueSum]]:
    """Return what all queues did together, and what each did.

    Raises:
        BrokerDownError: The broker does not answer.
    """
    names = await inspector.queues.names()
    found = await read_all([read_series(inspector, name, span) for name in names])
    sums = [
        QueueSum(
            name,
            sum(point.processed for point in series),
            sum(point.failed for point in series),
        )
        for name, series in zip(names, found, strict=True)
    ]
    return total(found), sums


async def read_series(inspector: Inspector, queue: str, span: Span) -> Series:
    """Return what a queue did; nothing of a queue that cannot be read.

    A point that is not over yet is left out, since it looks like a drop; today is not.

    Raises:
        BrokerDownError: The broker does not answer.
    """
    try:
        if span is Span.QUARTER:
            return _points(await inspector.queues.days(queue, count=_DAYS))
        step = _STEPS[span]
        more = step // timedelta(minutes=1)
        count = min(_MINUTES[span] + more, _KEPT_MINUTES)
        return merged(await inspector.queues.minutes(queue, count=count), step)
    except (BrokerError, NotFoundError) as error:
        if isinstance(error, BrokerDownError):
            raise
        return ()  # the report of this queue says what is wrong with it


def merged(minutes: Series, step: timedelta) -> Series:
    """Sum up minutes by the step; what is not complete, at both ends, is left out."""
    size, per = step // timedelta(minutes=1), step // timedelta(milliseconds=1)
    points: dict[int, list[MinuteReport]] = {}
    for minute in minutes[:-1]:
        points.setdefault(to_unix_ms(minute.at) // per, []).append(minute)
    return [
        MinuteReport(
            at=from_unix_ms(number * per),
            processed=sum(minute.processed for minute in each),
            failed=sum(minute.failed for minute in each),
        )
        for number, each in sorted(points.items())
        if len(each) == size
    ]


def total(queues: Sequence[Series]) -> Series:
    """Sum up queues, point by point."""
    points: dict[int, list[MinuteReport]] = {}
    for series in queues:
        for point in series:
            points.setdefault(to_unix_ms(point.at), []).append(point)
    return [
        MinuteReport(
            at=from_unix_ms(at),
            processed=sum(point.processed for point in each),
            failed=sum(point.failed for point in each),
        )
        for at, each in sorted(points.items())
    ]


def _points(days: Sequence[DayReport]) -> Series:
    return [MinuteReport(at=day.at, processed=day.processed, failed=day.failed) for day in days]
