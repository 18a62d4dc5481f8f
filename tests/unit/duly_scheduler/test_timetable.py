from datetime import timedelta

import pytest

from duly.errors import ConfigError
from duly.jobs import CheckPendingOrders
from duly.runtime.loading import load
from duly.schedule import Entry, Overlap
from duly_scheduler.roster import checked
from duly_scheduler.settings import Settings
from duly_scheduler.timetable import timetable


def settings(**variables):
    return load(Settings, environment=variables)


def entry(**changes):
    values = {"id": "a", "job": CheckPendingOrders(), "interval": timedelta(seconds=1)}
    return Entry(**{**values, **changes})


def test_pending_orders_are_checked_every_five_seconds_without_overlap():
    (only,) = timetable(settings())

    assert only == Entry(
        id="check-pending-orders",
        job=CheckPendingOrders(),
        interval=timedelta(seconds=5),
        overlap=Overlap.SKIP,
    )


def test_the_interval_is_a_setting():
    (only,) = timetable(settings(DULY_SCHEDULER__INTERVAL="2m"))

    assert only.interval == timedelta(minutes=2)


def test_the_timetable_as_it_stands_can_be_scheduled():
    entries = timetable(settings())

    assert checked(entries, settings().queues) == entries


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([entry(), entry()], "entry a: there are two", id="one id twice"),
        pytest.param([entry(interval=timedelta(0))], "whole seconds", id="no interval"),
        pytest.param([entry(interval=timedelta(seconds=1.5))], "whole seconds", id="half"),
        pytest.param([entry(queue="gone")], "no queue 'gone' (declare it as", id="no queue"),
    ],
)
def test_an_entry_that_can_not_be_scheduled_is_refused(entries, expected):
    with pytest.raises(ConfigError) as caught:
        checked(tuple(entries), settings().queues)

    assert expected in str(caught.value)
