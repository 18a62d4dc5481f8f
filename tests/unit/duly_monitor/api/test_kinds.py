"""Kinds as JSON, and enqueueing by kind."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.errors import (
    DuplicateTaskError,
    InvalidOptionError,
    PayloadTooLargeError,
    QueueFullError,
    TaskIdConflictError,
)

API = "/monitoring/api/v1"
TASKS = f"{API}/queues/low/tasks"


async def test_kinds_are_listed_without_their_schemas(client):
    (kind,) = (await client.get(f"{API}/kinds")).json()["kinds"]

    assert (kind["kind"], kind["queue"], kind["app"]) == ("send_invoice", "low", "shop")
    assert kind["servers"] == ["worker-1:1:aa"]
    assert "payload_schema" not in kind


async def test_one_kind_has_schema_and_policy(client):
    kind = (await client.get(f"{API}/kinds/send_invoice")).json()

    assert kind["payload_schema"]["required"] == ["order_id"]
    assert kind["policy"]["max_attempts"] == 3


@pytest.mark.parametrize("kind", ["send_invoce", "UPPER"])
async def test_an_unknown_kind_is_not_found(client, kind):
    answer = await client.get(f"{API}/kinds/{kind}")

    assert answer.status_code == 404


async def test_a_task_is_enqueued_by_kind_payload_and_options(client, producer):
    answer = await client.post(
        TASKS,
        json={
            "kind": "send_invoice",
            "payload": {"order_id": 7},
            "task_id": "mine",
            "delay_seconds": 1.5,
            "max_attempts": 2,
            "deadline": "2026-12-01T00:00:00Z",
            "headers": {"tenant": "a"},
        },
    )

    assert answer.status_code == 200
    assert answer.json()["id"] == "mine"
    assert answer.json()["payload"] == {"order_id": 7, "total": "0.00"}
    ((job, queue, options),) = producer.enqueued
    assert (job.kind, queue) == ("send_invoice", "low")
    assert options["delay"] == timedelta(seconds=1.5)
    assert options["deadline"] == datetime(2026, 12, 1, tzinfo=UTC)
    assert (options["max_attempts"], options["headers"]) == (2, {"tenant": "a"})
    assert options["unique_for"] is None


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"kind": "send_invoice"}, 400, "order_id: is missing: give integer, such as 7"),
        (
            {"kind": "send_invoice", "payload": {"order_id": "7"}},
            400,
            "order_id: is text, but must be integer, such as 7",
        ),
        ({"kind": "send_invoice", "payload": {"a": 1}}, 400, "a: is no field of send_invoice"),
        ({"kind": "send_invoce"}, 404, "did you mean 'send_invoice'?"),
        ({"payload": {}}, 400, "kind: Field required"),
        ({"kind": "send_invoice", "delay": 1}, 400, "delay: Extra inputs are not permitted"),
        ({"kind": "send_invoice", "payload": []}, 400, "payload: "),
        ({"kind": "send_invoice", "delay_seconds": -1}, 400, "delay_seconds: "),
        ({"kind": "send_invoice", "delay_seconds": False}, 400, "delay_seconds: "),
        ({"kind": "send_invoice", "deadline": 0}, 400, "deadline: "),
        ({"kind": "send_invoice", "due": "2026-01-01T00:00:00"}, 400, "due: Input should have tim"),
    ],
)
async def test_what_does_not_fit_is_refused_by_name(client, producer, body, status, told):
    answer = await client.post(TASKS, json=body)

    assert answer.status_code == status
    assert told in answer.json()["detail"]
    assert producer.enqueued == []


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
async def test_a_number_that_json_cannot_carry_is_refused_by_name(client, producer, number):
    payload = f'{{"order_id": 7, "total": [{number}]}}'
    answer = await client.post(
        TASKS, content=f'{{"kind": "send_invoice", "payload": {payload}}}'.encode()
    )

    assert answer.status_code == 400
    assert "field 'total.0' is not a finite number" in answer.json()["detail"]
    assert producer.enqueued == []


async def test_a_body_that_is_no_json_is_refused(client):
    assert (await client.post(TASKS, content=b"{")).status_code == 400
    assert (await client.post(TASKS)).status_code == 400
    assert (await client.post(TASKS, content=b"x" * 1_100_000)).status_code == 413


async def test_a_queue_that_is_not_there_is_not_found(client, producer):
    body = {"kind": "send_invoice", "payload": {"order_id": 7}}

    assert (await client.post(f"{API}/queues/none/tasks", json=body)).status_code == 404
    assert producer.enqueued == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DuplicateTaskError("send_invoice", "low", "other"), 409),
        (TaskIdConflictError("mine", "low"), 409),
        (QueueFullError("low", 1), 409),
        (PayloadTooLargeError("send_invoice", 2, 1), 413),
        (InvalidOptionError("due", "x", "is together with delay", "leave one out"), 400),
    ],
)
async def test_what_the_broker_or_the_client_refuses_is_a_problem(client, producer, error, status):
    producer.refuses = error
    answer = await client.post(TASKS, json={"kind": "send_invoice", "payload": {"order_id": 7}})

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_another_site_cannot_enqueue(connect, producer):
    async with connect(headers={"Sec-Fetch-Site": "cross-site"}) as client:
        answer = await client.post(TASKS, json={"kind": "send_invoice"})

    assert answer.status_code == 403
    assert producer.enqueued == []


async def test_a_batch_says_of_each_what_came_of_it(client, producer, inspector):
    tasks = [
        {"kind": "send_invoice", "payload": {"order_id": 1}},
        {"kind": "send_invoice", "payload": {"order_id": "x"}},
        {"kind": "nobody", "payload": {}},
    ]
    answer = await client.post("/monitoring/api/v1/queues/low/batch", json={"tasks": tasks})

    assert answer.status_code == 200
    assert answer.json()["enqueued"] == len(producer.enqueued) == 1
    assert [bool(each["error"]) for each in answer.json()["results"]] == [False, True, True]
    assert (inspector.audited[-1].count, inspector.audited[-1].result) == (1, "failed")


async def test_an_idempotency_key_names_the_task(client, producer):
    body = {"kind": "send_invoice", "payload": {"order_id": 1}}
    for key in ("a", "a", "b"):
        headers = {"Idempotency-Key": key}
        await client.post("/monitoring/api/v1/queues/low/tasks", json=body, headers=headers)

    ids = [options["task_id"] for _, _, options in producer.enqueued]
    assert ids[0] == ids[1] != ids[2]
    long = {"Idempotency-Key": "x" * 300}
    answer = await client.post("/monitoring/api/v1/queues/low/tasks", json=body, headers=long)
    assert answer.status_code == 400


async def test_a_refused_option_keeps_its_name_as_it_is_written(client, producer):
    producer.refuses = InvalidOptionError("task_id", "a\nb", "has a line break", "use others")
    answer = await client.post(TASKS, json={"kind": "send_invoice", "payload": {"order_id": 7}})

    assert answer.json()["detail"].startswith("task_id: ")
