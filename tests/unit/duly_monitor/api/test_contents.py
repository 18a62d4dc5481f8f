import pytest

API = "/monitoring/api/v1"


@pytest.mark.parametrize("what", ["groups", "joins", "locks", "days"])
async def test_what_a_queue_holds_is_listed(client, what):
    answer = await client.get(f"{API}/queues/default/{what}")

    assert answer.status_code == 200
    assert what in answer.json()
    assert (await client.get(f"{API}/queues/none/{what}")).status_code == 404


async def test_days_are_bounded(client):
    assert (await client.get(f"{API}/queues/default/days?count=91")).status_code == 400
