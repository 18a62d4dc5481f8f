"""The timetable as JSON."""

import pytest

API = "/monitoring/api/v1"


async def test_entries_tell_their_last_tick(client):
    (entry,) = (await client.get(f"{API}/schedules")).json()["schedules"]

    assert entry["interval_seconds"] == 5
    assert (entry["description"], entry["cron"]) == ("every 5 seconds", None)
    assert (entry["overlap"], entry["catch_up"], entry["held"]) == ("skip", "skip", False)
    assert len(entry["next_slots"]) == 5
    assert entry["last"]["outcome"] == "enqueued"


async def test_ticks_are_as_many_as_asked_for(client):
    answer = await client.get(f"{API}/schedules/check-pending-orders/ticks?limit=7")

    assert len(answer.json()["ticks"]) == 7


@pytest.mark.parametrize(
    ("path", "status"), [("check-pending-orders/ticks?limit=0", 400), ("none/ticks", 404)]
)
async def test_ticks_that_can_not_be_told_are_a_problem(client, path, status):
    assert (await client.get(f"{API}/schedules/{path}")).status_code == status
