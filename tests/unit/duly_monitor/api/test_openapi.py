"""The JSON API keeps what its OpenAPI description promises."""

import re

import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

API = "/monitoring/api/v1"


FILLED = {
    "name": "default",
    "task_id": "a1b2c3d4e5f60718",
    "entry": "check-pending-orders",
    "kind": "send_invoice",
    "server": "worker-mixed-58b7-q1zzv:1:4be2",
    "run_id": "0" * 16,
}
BODIES = {
    "pause_queue": {"reason": "a bad release"},
    "cancel_task": {"outcome": "retry", "reason": "a bad release"},
    "enqueue_task": {"kind": "send_invoice", "payload": {"order_id": 7}},
    "enqueue_tasks": {"tasks": [{"kind": "send_invoice", "payload": {"order_id": 7}}]},
    "rerun_task": {"changes": {}},
    "start_bulk": {"operation": "run", "q": "state:archived"},
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


def asked(operation):
    """Return the body that an operation wants."""
    if "requestBody" not in operation:
        return {}
    return {"json": BODIES[operation["operationId"]]}


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

    assert len(ids) == len(set(ids)) == 38
    for path, _, operation in operations(document):
        given = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
        assert given == set(re.findall(r"{(\w+)}", path))
        for parameter in operation["parameters"]:
            Draft202012Validator.check_schema(parameter["schema"])
            assert "$ref" not in parameter["schema"]


async def test_every_answer_is_as_described(client, document):
    for path, method, operation in sorted(operations(document), key=lambda item: item[1]):
        answer = await client.request(method, f"{API}{filled(path)}", **asked(operation))

        assert answer.status_code in (200, 404, 409), path
        schema = answer_schema(document, operation, answer.status_code)
        Draft202012Validator(schema).validate(answer.json())


async def test_every_outage_is_a_described_problem(client, inspector, document):
    inspector.down = True
    for path, method, operation in operations(document):
        answer = await client.request(method, f"{API}{filled(path)}", **asked(operation))

        assert answer.status_code == 503, path
        assert answer.headers["Content-Type"] == "application/problem+json"
        Draft202012Validator(answer_schema(document, operation, 503)).validate(answer.json())
