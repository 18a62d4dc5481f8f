"""What queues did in the last hour, minute by minute, for the charts."""

from collections.abc import Sequence
from datetime import datetime

from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import MinuteReport
from duly.errors import BrokerDownError, BrokerError, NotFoundError

SHOWN_MINUTES = 60
"""How far back the charts go."""


async def read_minutes(inspector: Inspector, queue: str) -> Sequence[MinuteReport]:
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


def finished(queues: Sequence[Sequence[MinuteReport]]) -> list[Sequence[MinuteReport]]:
    """Leave out the current minute once another has figures: a partial one looks like a drop."""
    known = any(minute.processed for minutes in queues for minute in minutes[:-1])
    return [minutes[:-1] if known else minutes[1:] for minutes in queues]


def total(queues: Sequence[Sequence[MinuteReport]]) -> Sequence[MinuteReport]:
    """Sum up the figures of all queues for each minute, oldest first."""
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
