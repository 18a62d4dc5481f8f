"""The JSON API keeps what its OpenAPI description promises."""

import re

import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from duly.task import TaskState

API = "/monitoring/api/v1"
FILLED = {
    "name": "default",
    "task_id": "a1b2c3d4e5f60718",
    "entry": "check-pending-orders",
}


@pytest.fixture
async def document(client):
    return (await client.get(f"{API}/openapi.json")).json()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def answer_schema(document, operation, status):
    media = "application/json" if status == 200 else "application/problem+json"
    schema = operation["responses"][str(status)]["content"][media]["schema"]
    return {**schema, "components": document["components"]}


def filled(path):
    return re.sub(r"{(\w+)}", lambda match: FILLED[match[1]], path)


async def test_description_is_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"]
    assert document["info"]["version"]
    assert document["servers"] == [{"url": API}]
    for schema in document["components"]["schemas"].values():
        validator_for(schema, default=Draft202012Validator).check_schema(schema)


async def test_description_has_every_reference_it_uses(document):
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))

    assert names <= set(document["components"]["schemas"])


async def test_description_names_operations_once_and_their_parameters(document):
    ids = [operation["operationId"] for _, _, operation in operations(document)]

    assert len(ids) == len(set(ids)) == 13
    for path, _, operation in operations(document):
        given = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
        assert given == set(re.findall(r"{(\w+)}", path))
        for parameter in operation["parameters"]:
            Draft202012Validator.check_schema(parameter["schema"])
            assert "$ref" not in parameter["schema"]


async def test_every_answer_is_as_described(client, document):
    for path, method, operation in sorted(operations(document), key=lambda item: item[1]):
        answer = await client.request(method, f"{API}{filled(path)}")

        assert answer.status_code in (200, 404, 409), path
        schema = answer_schema(document, operation, answer.status_code)
        Draft202012Validator(schema).validate(answer.json())


async def test_every_outage_is_a_described_problem(client, inspector, document):
    inspector.down = True
    for path, method, operation in operations(document):
        answer = await client.request(method, f"{API}{filled(path)}")

        assert answer.status_code == 503, path
        assert answer.headers["Content-Type"] == "application/problem+json"
        Draft202012Validator(answer_schema(document, operation, 503)).validate(answer.json())


async def test_queues_tell_counts_and_health(client):
    queues = (await client.get(f"{API}/queues")).json()["queues"]

    by_name = {queue["name"]: queue for queue in queues}
    assert set(by_name) == {"critical", "default", "low"}
    assert by_name["default"]["waiting"] == 1_278
    assert by_name["default"]["oldest_waiting_seconds"] == 252
    assert by_name["default"]["health"] == "warn"
    assert by_name["low"]["paused_since"].startswith("2026-11-25T03:04:17")


async def test_tasks_are_paged_to_the_end_without_repeats(client):
    seen, cursor = [], ""
    while cursor is not None:
        parameters = {"state": "waiting", "limit": 7, **({"cursor": cursor} if cursor else {})}
        page = (await client.get(f"{API}/queues/default/tasks", params=parameters)).json()
        seen += [task["id"] for task in page["tasks"]]
        cursor = page["next_cursor"]

    assert len(seen) == len(set(seen)) == 40


@pytest.mark.parametrize("state", list(TaskState))
async def test_tasks_of_every_state_can_be_listed(client, state):
    answer = await client.get(f"{API}/queues/default/tasks?state={state.value}")

    assert answer.status_code == 200
    assert all(task["state"] == state.value for task in answer.json()["tasks"])


async def test_task_tells_its_operations_and_masks_secrets(client):
    task = (await client.get(f"{API}/tasks/a1b2c3d4e5f60718")).json()

    assert task["operations"] == ["run", "delete"]
    assert task["payload"]["customer_email"] == task["labels"]["password"] == "••••••"
    assert task["payload"]["invoice_id"] == 9_007_199_254_740_993
    assert task["history"][0]["duration_seconds"] == 0.84


async def test_run_by_a_script_makes_the_task_wait(client, inspector):
    answer = await client.post(f"{API}/tasks/a1b2c3d4e5f60718/run")

    assert answer.json() == {"operation": "run", "queue": "default", "task_id": "a1b2c3d4e5f60718"}
    assert (await inspector.find("a1b2c3d4e5f60718")).state is TaskState.WAITING


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


@pytest.mark.parametrize("query", ["count=0", "count=1441", "count=-1", "count=x"])
async def test_minutes_are_bounded(client, query):
    assert (await client.get(f"{API}/queues/default/minutes?{query}")).status_code == 400


async def test_metrics_tell_what_the_inspector_tells(client):
    text = (await client.get("/metrics")).text

    for line in (
        'duly_queue_tasks{queue="default",state="waiting"} 1278.0',
        'duly_queue_oldest_waiting_seconds{queue="default"} 252.0',
        'duly_queue_paused{queue="low"} 1.0',
        'duly_queue_paused{queue="default"} 0.0',
        'duly_queue_processed_total{queue="default"} 1.204332e+06',
        'duly_queue_failed_total{queue="default"} 1918.0',
        'duly_queue_servers{queue="default"} 2.0',
        'duly_queue_concurrency{queue="low"} 1.0',
        "duly_monitor_broker_up 1.0",
    ):
        assert f"\n{line}\n" in text


async def test_metrics_and_readiness_tell_of_an_outage(client, inspector):
    inspector.down = True

    assert "duly_monitor_broker_up 0.0" in (await client.get("/metrics")).text
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/livez")).status_code == 200
