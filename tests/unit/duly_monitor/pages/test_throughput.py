"""The charts of longer times."""

import re

import pytest

from duly_monitor.series import Span


@pytest.mark.parametrize("span", [*Span])
@pytest.mark.parametrize("path", ["/throughput", "/queues/default"])
async def test_each_span_is_a_chart_with_a_table(client, path, span):
    text = (await client.get(f"/monitoring{path}?span={span.value}")).text

    assert re.search(rf'span={span.value}#chart" aria-current="true"', text)
    assert f'data-span="{span.value}"' in text
    assert len(re.findall(r"<tr data-at=", text)) >= 59


@pytest.mark.parametrize(("span", "until"), [("24h", True), ("72h", True), ("90d", False)])
async def test_a_line_that_leaves_out_what_is_under_way_says_until_when_it_goes(
    client, span, until
):
    text = (await client.get(f"/monitoring/throughput?span={span}")).text

    assert bool(re.search(r"minutes, until <time [^>]+>\d\d:\d\d</time>", text)) == until
    assert ("also counts what was done since" in text) == until


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
