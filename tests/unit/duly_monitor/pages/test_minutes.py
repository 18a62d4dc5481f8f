"""What the charts show."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.storage.reports import MinuteReport
from duly.errors import BrokerDownError, NotFoundError
from duly_monitor.pages.minutes import SHOWN_MINUTES, finished, read_minutes, total


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
