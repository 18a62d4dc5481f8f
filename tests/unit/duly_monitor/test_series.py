"""What queues did, point by point."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from duly.engine.storage.reports import MinuteReport
from duly.errors import BrokerDownError, NotFoundError
from duly_monitor.series import QueueSum, Span, merged, read_series, total

START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


def minutes(count, start=START):
    return [
        MinuteReport(at=start + timedelta(minutes=index), processed=2, failed=1)
        for index in range(count)
    ]


def test_minutes_are_summed_up_by_the_step_without_what_is_incomplete():
    points = merged(minutes(36, START - timedelta(minutes=3)), timedelta(minutes=10))

    assert [point.at for point in points] == [START + timedelta(minutes=10 * i) for i in range(3)]
    assert {(point.processed, point.failed) for point in points} == {(20, 10)}


def test_queues_are_summed_up_point_by_point():
    points = total([minutes(3), minutes(2), ()])

    assert [(point.processed, point.failed) for point in points] == [(4, 2), (4, 2), (2, 1)]


@pytest.mark.parametrize(
    ("span", "points", "step"),
    [
        (Span.HOUR, 60, timedelta(minutes=1)),
        (Span.DAY, 144, timedelta(minutes=10)),
        (Span.THREE_DAYS, 143, timedelta(minutes=30)),
        (Span.QUARTER, 90, timedelta(days=1)),
    ],
)
async def test_a_span_has_its_points(inspector, span, points, step):
    series = await read_series(inspector, "default", span)

    assert points - 1 <= len(series) <= points
    assert {b.at - a.at for a, b in pairwise(series)} == {step}


async def test_a_queue_that_cannot_be_read_has_no_points(inspector):
    async def gone(name, *, count):
        raise NotFoundError("queue", name)

    inspector.queues.days = gone

    assert await read_series(inspector, "default", Span.QUARTER) == ()
    inspector.down = True
    with pytest.raises(BrokerDownError):
        await read_series(inspector, "default", Span.DAY)


def test_a_share_of_nothing_is_nothing():
    assert QueueSum("a", 0, 0).failed_share == 0
    assert QueueSum("a", 4, 1).failed_share == 0.25
