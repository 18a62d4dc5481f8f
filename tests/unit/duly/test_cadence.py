"""When an entry is due, above all on the two days a year on which clocks are changed."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.cadence import Cron, Every, cadence_of
from duly.clock import from_unix_ms, to_unix_ms
from duly.errors import ConfigError

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
DAY_MS = 86_400_000
EXPRESSIONS = [
    *("* * * * *", "*/15 * * * *", "30 * * * *", "*/30 2 * * *", "30 2 * * *", "0 2,3 * * *"),
    *("30 1 * * *", "15-45/10 1-3 * * *", "0 9 * * mon-fri", "@hourly", "@daily", "0 0 1 * *"),
]


def ms(text, zone="UTC"):
    return to_unix_ms(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def on(day, expression, zone):
    """Return the slots of one local day, as UTC times of that day."""
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    end = (begin + timedelta(days=1)).replace(tzinfo=ZoneInfo(zone))
    cron = Cron(expression, zone)
    found = cron.after(to_unix_ms(begin) - 1, 200)
    return [f"{from_unix_ms(slot):%H:%M}" for slot in found if slot < to_unix_ms(end)]


@pytest.mark.parametrize(
    ("day", "expression", "zone", "slots"),
    [
        # Spring: 02:00 becomes 03:00. Berlin is an hour ahead of UTC, then two.
        pytest.param("2026-03-29", "30 2 * * *", BERLIN, ["01:00"], id="left out: right after"),
        pytest.param("2026-03-29", "0 2,3 * * *", BERLIN, ["01:00"], id="and not twice"),
        pytest.param("2026-03-29", "*/30 2 * * *", BERLIN, [], id="left out, by elapsed time"),
        pytest.param("2026-03-08", "30 2 * * *", NEW_YORK, ["07:00"], id="New York, left out"),
        pytest.param("2026-03-29", "0 9 * * *", BERLIN, ["07:00"], id="spring, later that day"),
        # Autumn: 03:00 becomes 02:00.
        pytest.param("2026-10-25", "30 2 * * *", BERLIN, ["00:30"], id="twice: the first"),
        pytest.param("2026-10-25", "*/30 2 * * *", BERLIN, ["00:00", "00:30", "01:00", "01:30"],
                     id="twice, by elapsed time"),
        pytest.param("2026-11-01", "30 1 * * *", NEW_YORK, ["05:30"], id="New York, twice"),
        pytest.param("2026-10-25", "0 9 * * *", BERLIN, ["08:00"], id="autumn, later that day"),
    ],
)  # fmt: skip
def test_slots_when_clocks_change(day, expression, zone, slots):
    assert on(day, expression, zone) == slots


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_an_hourly_entry_is_due_in_every_hour_that_passes(day, hours):
    assert len(on(day, "@hourly", BERLIN)) == hours


@pytest.mark.parametrize("zone", ["UTC", BERLIN, NEW_YORK])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_slots_do_not_depend_on_when_one_looks(expression, zone):
    """Over both changes, walked slot by slot and asked for at odd instants: the same slots."""
    cron = Cron(expression, zone)
    for day in ("2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01"):
        begin = ms(day) - 12 * 3_600_000
        walked, at = [], begin
        while at < begin + 36 * 3_600_000:
            at = cron.after(at, 1)[0]
            walked.append(at)
        assert walked == cron.after(begin, len(walked))
        assert all(before < after for before, after in pairwise(walked))
        for before, after in pairwise(walked[:50]):
            assert cron.around(before) == (before, after)
            assert cron.around((before + after) // 2) == (before, after)
            assert cron.around(after - 1) == (before, after)
        count, newest = cron.between(walked[0], walked[-1], 5)
        assert (count, newest) == (len(walked) - 2, walked[1:-1][-5:]) or len(walked) < 3


def test_every_replica_finds_the_slots_of_a_rare_entry():
    leap = Cron("0 0 29 2 *", BERLIN)

    newest, following = leap.around(ms("2026-11-25"))

    assert from_unix_ms(newest) == datetime(2024, 2, 28, 23, tzinfo=UTC)
    assert from_unix_ms(following) == datetime(2028, 2, 28, 23, tzinfo=UTC)


def test_a_long_outage_is_counted_within_a_bound_and_the_newest_are_told():
    cron = Cron("* * * * *", "UTC")
    until = ms("2026-11-25")

    count, newest = cron.between(until - 400 * DAY_MS, until, 3)

    assert 10_000 <= count < 400 * 1440
    assert newest == [until - 180_000, until - 120_000, until - 60_000]


def test_slots_of_an_interval_are_whole_multiples_since_1970():
    every = Every(timedelta(seconds=7))

    slot, following = every.around(ms("2026-11-25T03:00:01"))

    assert (slot % 7000, following - slot) == (0, 7000)
    assert every.after(slot, 2) == [slot + 7000, slot + 14_000]
    assert every.between(slot, slot + 28_000, 2) == (3, [slot + 14_000, slot + 21_000])
    assert every.between(slot, slot + 7000, 2) == (0, [])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((1, "every second"), (5, "every 5 seconds"), (60, "every minute")),
        *((90, "every 90 seconds"), (600, "every 10 minutes"), (3600, "every hour")),
        (86_400, "every day"),
    ],
)  # fmt: skip
def test_intervals_in_words(seconds, words):
    assert Every(timedelta(seconds=seconds)).description == words


@pytest.mark.parametrize(
    ("expression", "zone", "words"),
    [
        ("0 9 * * mon-fri", BERLIN, "At 09:00 on Monday through Friday (Europe/Berlin)"),
        ("@hourly", "UTC", "At the start of every hour (UTC)"),
        ("*/15 * * * *", "UTC", "Every 15th minute of every hour (UTC)"),
        ("0 0 L * *", NEW_YORK, "At 00:00 on the last day of every month (America/New_York)"),
    ],
)
def test_cron_in_words(expression, zone, words):
    assert Cron(expression, zone).description == words


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Every(timedelta(hours=1)), Every(timedelta(minutes=60)), True),
        (Every(timedelta(hours=1)), Every(timedelta(seconds=5)), False),
        (Cron("@hourly", BERLIN), Cron("0  * * * *", BERLIN), True),
        (Cron("@hourly", BERLIN), Cron("@hourly", NEW_YORK), False),
        (Cron("@hourly", "UTC"), Every(timedelta(hours=1)), False),
    ],
)
def test_what_has_the_same_notation_has_the_same_slots(one, other, same):
    assert (one.notation == other.notation) is same


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "interval: neither interval nor cron is given (give one of them)"),
        ({"interval": timedelta(1), "cron": "@daily"}, "both interval and cron are given"),
        ({"interval": timedelta(seconds=1.5)}, "0:00:01.500000 is not a number of whole seconds"),
        ({"interval": timedelta(0)}, "between 1 second"),
        ({"interval": timedelta(days=9999)}, "and ten years"),
        ({"cron": "* * * *"}, "cron: '* * * *' is not five fields (write minute hour day"),
        ({"cron": "* * * * * *"}, "is not five fields"),
        ({"cron": "@often"}, "or @hourly, @daily"),
        ({"cron": "61 * * * *"}, "cron: '61 * * * *' cannot be read: Bad minute"),
        ({"cron": "0 0 31 2 *"}, "'0 0 31 2 *' cannot be read: Bad day-of-month"),
        ({"cron": "0 0 */31 2 1#5"}, "it is never due"),
        ({"cron": "9" * 500 + " * * * *"}, "is not five fields"),
        ({"cron": "@daily", "timezone": "Europe/Berlni"}, "did you mean Europe/Berlin?"),
        ({"cron": "@daily", "timezone": "../etc/passwd"}, "timezone: there is no time zone"),
        ({"cron": "@daily", "timezone": "Europe"}, "there is no time zone 'Europe'"),
    ],
)
def test_what_cannot_be_due_is_refused_with_a_remedy(given, message):
    with pytest.raises(ConfigError) as caught:
        cadence_of(**{"interval": None, "cron": None} | given)

    assert message in str(caught.value)


FIELD = st.text(alphabet="0123456789*/,-LW#monSU²", max_size=6)


@given(fields=st.lists(FIELD, min_size=5, max_size=5))
def test_whatever_stands_there_is_read_or_refused(fields):
    try:
        cron = cadence_of(None, " ".join(fields), BERLIN)
    except ConfigError:
        return
    slot, following = cron.around(ms("2026-11-25"))
    assert slot < following
