"""Queues as JSON."""

import pytest

API = "/monitoring/api/v1"


async def test_queues_tell_counts_and_health(client):
    queues = (await client.get(f"{API}/queues")).json()["queues"]

    by_name = {queue["name"]: queue for queue in queues}
    assert set(by_name) == {"critical", "default", "low"}
    assert by_name["default"]["waiting"] == 1_278
    assert by_name["default"]["oldest_waiting_seconds"] == 252
    assert by_name["default"]["health"] == "warn"
    assert by_name["low"]["paused_since"].startswith("2026-11-25T03:04:17")


@pytest.mark.parametrize("query", ["count=0", "count=1441", "count=-1", "count=x"])
async def test_minutes_are_bounded(client, query):
    assert (await client.get(f"{API}/queues/default/minutes?{query}")).status_code == 400


async def test_pausing_takes_a_reason(client, inspector):
    answer = await client.post(f"{API}/queues/default/pause", json={"reason": "a bad release"})

    assert answer.status_code == 200
    assert inspector.pauses["default"] == {"paused_by": "local", "pause_reason": "a bad release"}
    assert inspector.audited[0].reason == "a bad release"
    shown = (await client.get(f"{API}/queues/default")).json()
    assert (shown["paused_by"], shown["pause_reason"]) == ("local", "a bad release")
