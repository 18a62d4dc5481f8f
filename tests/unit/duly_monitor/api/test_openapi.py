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
    "join_id": "j-1",
}
BODIES = {
    "pause_queue": {"reason": "a bad release"},
    "cancel_task": {"outcome": "retry", "reason": "a bad release"},
    "enqueue_task": {"kind": "send_invoice", "payload": {"order_id": 7}},
    "enqueue_tasks": {"tasks": [{"kind": "send_invoice", "payload": {"order_id": 7}}]},
    "rerun_task": {"changes": {}},
    "edit_task": {"changes": {"order_id": 8}},
    "cancel_join": {"reason": "no longer wanted"},
    "remove_queue": {"force": True},
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
    if status == 200 and "text/csv" in operation["responses"]["200"]["content"]:
        return {"type": "string"}
    schema = operation["responses"][str(status)]["content"][media]["schema"]
    return {**schema, "components": document["components"]}


def filled(path):
    return re.sub(r"{(\w+)}", lambda match: FILLED[match[1]], path)


def asked(operation):
    """Return the body that an operation wants."""
    if "requestBody" in operation:
        return {"json": BODIES[operation["operationId"]]}
    if operation["operationId"].startswith("list_group_tasks"):
        return {"params": {"kind": "mention"}}
    return {}


def content(answer):
    """Return what an answer holds: text, where it is a table."""
    return answer.text if answer.headers["Content-Type"].startswith("text/") else answer.json()


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

    assert len(ids) == len(set(ids)) == 65
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
        Draft202012Validator(schema).validate(content(answer))


async def test_every_outage_is_a_described_problem(client, inspector, document):
    inspector.down = True
    for path, method, operation in operations(document):
        if operation["operationId"] == "show_openapi":
            continue  # known without the broker
        answer = await client.request(method, f"{API}{filled(path)}", **asked(operation))

        assert answer.status_code == 503, path
        assert answer.headers["Content-Type"] == "application/problem+json"
        Draft202012Validator(answer_schema(document, operation, 503)).validate(answer.json())


async def test_headers_that_are_described_are_there(client, document):
    for path, method, operation in operations(document):
        if method == "get":
            address = f"{API}{filled(path)}"
            answer = await client.get(address, **asked(operation))
            if answer.status_code == 200:
                again = await client.get(
                    address, **asked(operation), headers={"If-None-Match": answer.headers["ETag"]}
                )
                changes = operation["operationId"].startswith("list_audit")
                assert changes or (again.status_code, again.content) == (304, b""), path
            assert "X-Request-Id" in answer.headers


async def test_every_reference_to_a_header_is_described(document):
    named = set(re.findall(r"#/components/headers/([\w-]+)", str(document)))

    assert named == set(document["components"]["headers"])


async def test_every_list_can_be_bounded_and_followed(document):
    """All but those that name a span of time."""
    spans = {"list_minutes", "list_days"}
    for path, _, operation in operations(document):
        name = operation["operationId"].removesuffix("_as_csv")
        if not name.startswith(("list_", "search_")) or name in spans:
            continue
        given = {each["name"]: each["schema"] for each in operation["parameters"]}
        assert given["limit"]["minimum"] == 1, path
        assert given["limit"]["maximum"] <= 1_000, path
        assert "cursor" in given, path
