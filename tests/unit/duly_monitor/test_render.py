"""From templates to bytes."""

from datetime import UTC, datetime

import pytest
from sample_tasks import archived

from duly.engine.storage.reports import MinuteReport
from duly_monitor.render import spark


async def test_overview_shows_the_environment(connect):
    async with connect(environment="production <b>") as client:
        text = (await client.get("/monitoring/")).text

    assert 'class="badge tone-bad" title="environment">production &lt;b&gt;<' in text


@pytest.mark.parametrize(
    "path", ["/monitoring/failures", "/monitoring/tasks/low/evil", "/monitoring/api/v1/tasks/evil"]
)
async def test_lone_surrogates_and_control_characters_do_not_break_a_page(client, inspector, path):
    task = archived(
        "evil", "k\ud800", inspector.at, "E: \ud800\x00\x1b[31m", attempts=1, queue="low"
    )
    inspector.held.append(task)

    assert (await client.get(path)).status_code == 200


def test_a_spark_starts_at_zero_and_reaches_the_top():
    at = datetime(2026, 11, 25, tzinfo=UTC)
    minutes = [MinuteReport(at=at, processed=value, failed=0) for value in (0, 5, 10)]

    drawn = spark(minutes, 100, 20)

    assert drawn.processed == "0.0,19.0 50.0,10.0 100.0,1.0"
    assert drawn.peak == 10


def test_a_spark_of_nothing_is_empty():
    assert spark([]).processed == ""
