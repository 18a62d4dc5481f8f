from datetime import timedelta

import pytest

from duly.errors import ConfigError
from duly.jobs import CheckPendingOrders
from duly.schedule import CatchUp, Entry, Overlap


def entry(**changes):
    options = {"id": "a", "job": CheckPendingOrders(), "interval": timedelta(seconds=1)} | changes
    return Entry(**options)


def test_it_enqueues_to_its_own_queue_or_to_that_of_the_job():
    assert entry().target == "default"
    assert entry(queue="low").target == "low"


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 0),
        ({"catch_up": CatchUp.ONE}, 1),
        ({"catch_up": CatchUp.ALL, "overlap": Overlap.ALLOW}, 100),
        ({"catch_up": CatchUp.ALL, "overlap": Overlap.ALLOW, "catch_up_limit": 7}, 7),
    ],
)
def test_how_much_it_makes_up_for(options, most):
    found = entry(**options)

    found.check()
    assert found.most_caught_up == most


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "a:b"}, "timetable entry a:b: not an id (use"),
        ({"interval": None}, "timetable entry a: interval: neither interval nor cron is given"),
        ({"cron": "@daily"}, "both interval and cron are given (give one of them)"),
        ({"interval": None, "cron": "0 25 * * *"}, "cron: '0 25 * * *' cannot be read: Bad hour"),
        (
            {"interval": None, "cron": "@daily", "timezone": "Europe/Berln"},
            "timezone: there is no time zone 'Europe/Berln' (did you mean Europe/Berlin?)",
        ),
        ({"catch_up_limit": 501}, "catch_up_limit: 501 is not within 1 to 500"),
        ({"catch_up": CatchUp.ALL}, "say overlap: allow, or catch_up: one"),
        ({"overlap": "skp"}, "'skp' is not an overlap (such as skip, queue_one, allow)"),
        ({"catch_up": "al"}, "catch_up: 'al' is not a way to catch up (such as skip, one, all)"),
        ({"interval": 5}, "interval: 5 is not a timedelta (such as timedelta(seconds=5))"),
        ({"cron": 5, "interval": None}, "cron: 5 is not a text"),
        ({"job": CheckPendingOrders}, "is not a job (such as send_invoice.job(7))"),
        ({"catch_up_limit": "7"}, "catch_up_limit: '7' is not a number"),
        ({"paused": "no"}, "paused: 'no' is not True or False"),
        ({"queue": 7}, "queue: 7 is not a text"),
        ({"id": 7}, "id: 7 is not a text"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_with_a_remedy(changes, message):
    with pytest.raises(ConfigError) as caught:
        entry(**changes).check()

    assert message in str(caught.value)


def test_text_stands_for_the_members_that_it_names():
    found = entry(overlap="allow", catch_up="all")

    found.check()
    assert (found.overlap, found.catch_up) == (Overlap.ALLOW, CatchUp.ALL)
    assert isinstance(found.overlap, Overlap)
    assert found == entry(overlap=Overlap.ALLOW, catch_up=CatchUp.ALL)
