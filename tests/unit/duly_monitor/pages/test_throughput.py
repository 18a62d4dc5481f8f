"""The charts of longer times."""

import re
from datetime import timedelta
from itertools import pairwise

import pytest

from duly_monitor.pages.throughput import QueueSum, Span, read_course


@pytest.mark.parametrize(
    ("span", "points", "step"),
    [
        (Span.DAY, 144, timedelta(minutes=10)),
        (Span.THREE_DAYS, 144, timedelta(minutes=30)),
        (Span.QUARTER, 90, timedelta(days=1)),
    ],
)
async def test_a_span_has_its_points(inspector, span, points, step):
    course = await read_course(inspector, ["default"], span)

    assert len(course.points) == points
    assert {b.at - a.at for a, b in pairwise(course.points)} == {step}


@pytest.mark.parametrize("span", [*Span])
@pytest.mark.parametrize("path", ["/throughput", "/queues/default"])
async def test_each_span_is_a_chart_with_a_table(client, path, span):
    text = (await client.get(f"/monitoring{path}?span={span.value}")).text

    assert re.search(rf'span={span.value}#chart" aria-current="true"', text)
    assert f'data-span="{span.value}"' in text
    assert len(re.findall(r"<tr data-at=", text)) >= 59


async def test_the_overview_leads_to_longer_spans_and_their_sums(client):
    assert "/monitoring/throughput?span=90d#chart" in (await client.get("/monitoring/")).text
    text = (await client.get("/monitoring/throughput?span=90d")).text

    assert "130,050" in text
    assert '/monitoring/queues/low?span=90d#chart"' in text


async def test_a_chart_is_read_once_for_all_who_look_at_it(connect, inspector):
    async with connect() as client:
        await client.get("/monitoring/throughput?span=72h")
        calls = inspector.calls
        await client.get("/monitoring/throughput?span=72h")

    assert inspector.calls == calls


async def test_an_unknown_span_is_refused(client):
    assert (await client.get("/monitoring/throughput?span=1y")).status_code == 400


def test_a_share_of_nothing_is_nothing():
    assert QueueSum("a", 0, 0).failed_share == 0
    assert QueueSum("a", 4, 1).failed_share == 0.25
