"""Tasks as JSON."""

import pytest

from duly.task import TaskState

API = "/monitoring/api/v1"


async def test_tasks_are_paged_to_the_end_without_repeats(client):
    seen, cursor = [], ""
    while cursor is not None:
        parameters = {"state": "waiting", "limit": 7, **({"cursor": cursor} if cursor else {})}
        page = (await client.get(f"{API}/queues/default/tasks", params=parameters)).json()
        seen += [task["id"] for task in page["tasks"]]
        cursor = page["next_cursor"]

    assert len(seen) == len(set(seen)) == 40


async def test_a_cursor_of_nothing_says_what_one_must_be(client):
    answer = await client.get(f"{API}/queues/default/tasks", params={"cursor": "nonsense"})

    assert answer.status_code == 400
    assert answer.json()["detail"] == "cursor: must be the next_cursor of a page of the same list"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/queues/default/tasks?status=archived", "known: state, limit, cursor, order"),
        ("/queues/default/tasks.csv?status=archived", "known: state, limit, cursor, order"),
        ("/search?query=x", "known: "),
        ("/queues/default?state=archived", "this address takes none"),
    ],
)
async def test_a_parameter_that_an_address_does_not_have_is_refused(client, path, told):
    answer = await client.get(f"{API}{path}")

    name = path.partition("?")[2].partition("=")[0]
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{name}: unknown parameter (")
    assert told in answer.json()["detail"]


@pytest.mark.parametrize("state", list(TaskState))
async def test_tasks_of_every_state_can_be_listed(client, state):
    answer = await client.get(f"{API}/queues/default/tasks?state={state.value}")

    assert answer.status_code == 200
    assert all(task["state"] == state.value for task in answer.json()["tasks"])


async def test_a_completed_task_tells_its_attempts_as_they_were(client):
    task = (await client.get(f"{API}/tasks/c0c0c0c000000001")).json()

    assert (task["attempts"], task["crashes"]) == (1, 0)
    assert task["enqueued_at"] < task["started_at"] < task["ended_at"] < task["due_at"]
    assert task["duration_seconds"] == 8
    (success,) = task["history"]
    assert (success["outcome"], success["number"]) == ("succeeded", 1)
    assert success["server"] == "worker-mixed-58b7-q1zzv:1:4be2"


async def test_the_oldest_come_first_when_asked_for(client):
    async def ids(order):
        params = {"state": "waiting", "limit": 200, "order": order}
        page = (await client.get(f"{API}/queues/default/tasks", params=params)).json()
        return [task["id"] for task in page["tasks"]]

    assert await ids("oldest") == (await ids("newest"))[::-1]


async def test_a_task_that_has_not_begun_is_edited(client, inspector):
    body = {"changes": {"order_id": 8}, "reason": "a slip"}

    answer = await client.post(f"{API}/tasks/5d5d5d5d00000002/edit", json=body)

    assert answer.status_code == 200
    assert answer.json()["payload"]["order_id"] == 8
    record = inspector.audited[-1]
    assert (record.action, record.reason, record.detail) == (
        "edit_task", "a slip", "fields: order_id",
    )  # fmt: skip
    empty = await client.post(f"{API}/tasks/5d5d5d5d00000002/edit", json={"changes": {}})
    assert empty.status_code == 400


async def test_bytes_of_a_message_are_escaped_and_take_a_permission(client, connect):
    shown = (await client.get(f"{API}/tasks/low-quarantined/message")).status_code
    message = (await client.get(f"{API}/tasks/c0c0c0c000000001/message")).json()
    async with connect(role="operator") as operator:
        refused = await operator.get(f"{API}/tasks/c0c0c0c000000001/message")

    assert shown == 404
    assert message["text"].startswith("\\x00")
    assert message["size"] > 5_000
    assert message["text"].isascii() or "…" in message["text"]
    assert refused.status_code == 403


async def test_run_by_a_script_makes_the_task_wait(client, inspector):
    answer = await client.post(f"{API}/tasks/a1b2c3d4e5f60718/run")

    assert answer.json() == {"operation": "run", "queue": "default", "task_id": "a1b2c3d4e5f60718"}
    assert (await inspector.tasks.find("a1b2c3d4e5f60718")).state is TaskState.WAITING


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/tasks/none/run", 404),
        ("/tasks/9f2c41d8e0b70/archive", 409),
        ("/queues/none/pause", 404),
        ("/queues/UPPER/resume", 404),
    ],
)
async def test_what_can_not_be_done_is_a_problem(client, path, status):
    answer = await client.post(f"{API}{path}")

    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "outcome"), [(b"", "archive"), (b"{}", "archive"), (b'{"outcome": "retry"}', "retry")]
)
async def test_cancelling_has_an_outcome(client, inspector, body, outcome):
    answer = await client.post(f"{API}/tasks/9f2c41d8e0b70/cancel", content=body)

    assert answer.status_code == 200
    assert inspector.cancelled == [("9f2c41d8e0b70", outcome)]


@pytest.mark.parametrize("body", [b'{"outcome": "burn"}', b"[]", b"{", b'{"reasons": ""}'])
async def test_an_outcome_that_is_none_cancels_nothing(client, inspector, body):
    answer = await client.post(f"{API}/tasks/9f2c41d8e0b70/cancel", content=body)

    assert answer.status_code == 400
    assert inspector.cancelled == []
