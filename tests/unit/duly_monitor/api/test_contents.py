import pytest
from msgspec.structs import replace

from duly.task import TaskState

API = "/monitoring/api/v1"


@pytest.mark.parametrize("what", ["groups", "joins", "locks", "days"])
async def test_what_a_queue_holds_is_listed(client, what):
    answer = await client.get(f"{API}/queues/default/{what}")

    assert answer.status_code == 200
    assert what in answer.json()
    assert (await client.get(f"{API}/queues/none/{what}")).status_code == 404


async def test_the_tasks_of_a_group_are_paged(client, inspector):
    (one,) = (task for task in inspector.held if task.state is TaskState.AGGREGATING)
    inspector.held += [replace(one, id=f"{one.id}{number}") for number in range(2)]
    (group,) = (await client.get(f"{API}/queues/critical/groups")).json()["groups"]
    params = {"kind": group["kind"], "group": group["name"], "limit": 2}

    first = (await client.get(f"{API}/queues/critical/group", params=params)).json()
    rest = (
        await client.get(
            f"{API}/queues/critical/group", params={**params, "cursor": first["next_cursor"]}
        )
    ).json()

    ids = [task["id"] for page in (first, rest) for task in page["tasks"]]
    assert len(ids) == len(set(ids)) == group["size"]
    assert rest["next_cursor"] is None
    wrong = [{**params, "group": "gone"}, {**params, "cursor": "x"}, {}]
    assert [
        (await client.get(f"{API}/queues/critical/group", params=each)).status_code
        for each in wrong
    ] == [404, 400, 400]


async def test_a_join_is_cancelled_with_a_reason(client, inspector):
    (join, *_) = (await client.get(f"{API}/queues/default/joins")).json()["joins"]
    address = f"{API}/queues/default/joins/{join['id']}/cancel"

    answer = await client.post(address, json={"reason": "wrong month"})

    assert answer.json() == {"operation": "cancel", "queue": "default", "join": join["id"]}
    assert (await client.post(address)).status_code == 404
    record = inspector.audited[-2]
    assert (record.action, record.result, record.reason) == ("cancel_join", "done", "wrong month")


async def test_a_join_takes_its_permission(connect):
    async with connect(role="viewer") as client:
        answer = await client.post(f"{API}/queues/default/joins/x/cancel")

    assert answer.status_code == 403
    assert "cancel-tasks" in answer.text


async def test_days_are_bounded(client):
    assert (await client.get(f"{API}/queues/default/days?count=91")).status_code == 400
