"""The overview."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from duly.engine.storage.reports import MinuteReport


async def test_overview_names_every_queue_in_an_order_that_stays(client):
    text = (await client.get("/monitoring/")).text

    places = [text.index(f'id="queue-{name}"') for name in ("critical", "default", "low")]
    assert places == sorted(places)
    assert '<tr id="queue-low" class="marked-warn">' in text
    assert '<tr id="queue-critical">' in text
    assert "behind, 1,278 tasks waiting, the oldest for 4 min" in text
    assert "paused for 26 min" in text


async def test_overview_says_that_no_scheduler_runs(client, inspector):
    """All queues may be well meanwhile: nothing is enqueued."""
    (real,) = await inspector.schedules.list()

    async def schedules():
        return [replace(real, next_slot=inspector.at - timedelta(minutes=4))]

    inspector.schedules.list = schedules
    text = (await client.get("/monitoring/")).text

    words = "No scheduler is running: 1 entry is overdue, by up to 4 min"
    assert text.count(words) == 2, "in the first line, and among what is around the queues"


async def test_overview_has_the_chart_as_a_table(client):
    text = (await client.get("/monitoring/")).text

    assert len(re.findall(r"<tr data-at=\"\d+\">", text)) == 60


@pytest.mark.parametrize(
    ("processed", "shown"),
    [
        pytest.param({1: 5, 0: 2}, "5", id="a-running-minute-is-left-out"),
        pytest.param({0: 2}, "2", id="unless-it-is-the-first"),
        pytest.param({}, "0", id="or-there-is-nothing"),
    ],
)
async def test_chart_ends_with_a_whole_minute(client, inspector, processed, shown):
    async def minutes(name, *, count):
        return [
            MinuteReport(
                at=inspector.at - timedelta(minutes=ago),
                processed=processed.get(ago, 0) if name == "low" else 0,
                failed=0,
            )
            for ago in reversed(range(count))
        ]

    inspector.queues.minutes = minutes

    text = (await client.get("/monitoring/")).text

    rows = re.findall(r'<tr data-at="\d+"><td>\S+</td><td class="num">(\d+)</td>', text)
    assert len(rows) == 60
    assert rows[-1] == shown
