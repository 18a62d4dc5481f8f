"""All queues together."""

import pytest

API = "/monitoring/api/v1"


async def test_the_overview_says_how_well_all_is(client):
    found = (await client.get(f"{API}/overview")).json()

    assert (found["queues"], found["servers"]) == (3, 3)
    assert found["level"] in ("bad", "warn")
    assert found["sentence"]
    assert any("stuck" in fact["sentence"] or "lost" in fact["sentence"] for fact in found["facts"])


@pytest.mark.parametrize(("span", "points"), [("1h", 60), ("90d", 90)])
async def test_what_all_queues_did_is_told_with_the_sum_of_each(client, span, points):
    found = (await client.get(f"{API}/throughput", params={"span": span})).json()

    assert abs(len(found["points"]) - points) <= 1
    assert [each["name"] for each in found["queues"]] == ["critical", "default", "low"]
    table = (await client.get(f"{API}/throughput.csv", params={"span": span})).text
    assert table.splitlines()[0] == "name,processed,failed,failed_share"
    assert len(table.splitlines()) == 4


async def test_other_spans_are_refused(client):
    assert (await client.get(f"{API}/throughput?span=1y")).status_code == 400
