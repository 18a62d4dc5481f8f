"""What queues did, point by point."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from duly.engine.storage.reports import MinuteReport
from duly.errors import BrokerDownError, NotFoundError
from duly_monitor.series import (
    SHOWN_MINUTES,
    QueueSum,
    Span,
    finished,
    read_all_series,
    read_minutes,
    read_series,
    total,
)


def minute(processed):
    return MinuteReport(at=datetime(2026, 11, 25, tzinfo=UTC), processed=processed, failed=0)


IDLE, BUSY = minute(0), minute(5)


async def test_one_minute_more_than_is_shown_is_read(inspector):
    assert len(await read_minutes(inspector, "default")) == SHOWN_MINUTES + 1


@pytest.mark.parametrize(
    ("error", "raised"), [(NotFoundError("queue", "a"), False), (BrokerDownError("b"), True)]
)
async def test_a_queue_that_cannot_be_read_has_none(inspector, error, raised):
    async def minutes(name, *, count):
        raise error

    inspector.queues.minutes = minutes
    if raised:
        with pytest.raises(BrokerDownError):
            await read_minutes(inspector, "a")
    else:
        assert await read_minutes(inspector, "a") == ()


def test_a_running_minute_is_left_out_once_any_queue_has_figures():
    assert finished([[IDLE, BUSY], [IDLE, IDLE]]) == [[BUSY], [IDLE]]
    assert finished([[BUSY, BUSY], [IDLE, IDLE]]) == [[BUSY], [IDLE]]
    assert finished([()]) == [()]


def test_queues_are_summed_up_point_by_point():
    def minutes(count):
        return [replace(BUSY, at=BUSY.at + timedelta(minutes=index)) for index in range(count)]

    points = total([minutes(3), minutes(2), ()])

    assert [(point.processed, point.failed) for point in points] == [(10, 0), (10, 0), (5, 0)]


@pytest.mark.parametrize(
    ("span", "points", "step"),
    [
        (Span.HOUR, 60, timedelta(minutes=1)),
        (Span.DAY, 144, timedelta(minutes=10)),
        (Span.THREE_DAYS, 144, timedelta(minutes=30)),
        (Span.QUARTER, 90, timedelta(days=1)),
    ],
)
async def test_a_span_has_its_points(inspector, span, points, step):
    series = await read_series(inspector, "default", span)

    assert len(series) == points
    assert {b.at - a.at for a, b in pairwise(series)} == {step}


@pytest.mark.parametrize("span", [*Span])
async def test_each_queue_has_its_sum(inspector, span):
    points, sums = await read_all_series(inspector, span)

    assert points
    assert [each.name for each in sums] == [*await inspector.queues.names()]


async def test_what_failed_a_moment_ago_is_in_the_sum_of_the_hour(inspector):
    minutes = await read_minutes(inspector, "default")
    _, sums = await read_all_series(inspector, Span.HOUR)

    (found,) = (each for each in sums if each.name == "default")
    assert found.processed == sum(each.processed for each in minutes)
    assert minutes[-1].processed > 0, "the minute that is under way"


def test_a_share_of_nothing_is_nothing():
    assert QueueSum("a", 0, 0).failed_share == 0
    assert QueueSum("a", 4, 1).failed_share == 0.25
