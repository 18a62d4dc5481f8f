"""Every action, refusal and failed log-in leaves a record, and a line in the log."""

import base64

import pytest
from msgspec.structs import replace
from starlette.routing import Route
from structlog.testing import capture_logs

TASK = "/monitoring/tasks/default/a1b2c3d4e5f60718"
API = "/monitoring/api/v1"


def lines(logs):
    return [line for line in logs if line["event"] == "Audit record"]


async def test_an_action_is_recorded_with_who_what_and_how_it_ended(client, inspector):
    with capture_logs() as logs:
        answer = await client.post(f"{TASK}/run", data={"back": "failures"})

    (record,) = inspector.audited
    assert (record.user, record.role, record.action, record.result) == (
        "local", "admin", "run_task", "done",
    )  # fmt: skip
    assert record.target == "queue=default task_id=a1b2c3d4e5f60718"
    assert record.peer == "127.0.0.1"
    assert record.request_id == answer.headers["X-Request-Id"]
    (line,) = lines(logs)
    assert line["request_id"] == record.request_id
    assert line["action"] == "run_task"


@pytest.mark.parametrize(
    ("path", "result", "detail"),
    [
        (f"{API}/tasks/9f2c41d8e0b70/run", "failed", "active"),
        (f"{API}/tasks/none/run", "failed", "none"),
        ("/monitoring/queues/none/pause", "failed", "none"),
    ],
)
async def test_an_action_that_fails_is_recorded_with_the_cause(
    client, inspector, path, result, detail
):
    await client.post(path)

    (record,) = inspector.audited
    assert record.result == result
    assert detail in record.detail


async def test_a_defect_is_recorded_without_its_text(client, inspector):
    async def fail(*_, **__):
        raise ZeroDivisionError("password=hunter2")

    inspector.queues.pause = fail
    with capture_logs():
        await client.post("/monitoring/queues/default/pause")

    (record,) = inspector.audited
    assert (record.result, record.detail) == ("unknown", "ZeroDivisionError")


async def test_a_failed_log_in_is_recorded_a_first_visit_is_not(connect, inspector):
    wrong = "Basic " + base64.b64encode(b"duly:guess").decode()
    async with connect(access="basic", password="s3cret") as client:
        await client.get("/monitoring/")
        assert inspector.audited == []
        await client.get("/monitoring/", headers={"Authorization": wrong})

    (record,) = inspector.audited
    assert (record.action, record.result, record.user) == ("log_in", "refused", "")
    assert "guess" not in str(record)


async def test_a_refused_change_is_recorded(connect, inspector):
    async with connect(headers={"Sec-Fetch-Site": "cross-site"}) as client:
        await client.post("/monitoring/queues/default/pause")

    (record,) = inspector.audited
    assert (record.action, record.result) == ("post", "refused")
    assert record.target == "/monitoring/queues/default/pause"


async def test_strangers_cannot_wash_out_the_audit(connect, inspector):
    async with connect(access="closed") as client:
        for _ in range(200):
            await client.post("/monitoring/queues/default/pause")

    assert len(inspector.audited) == 60


async def test_strangers_cannot_hide_who_fails_to_log_in(connect, inspector):
    wrong = {"Authorization": "Basic " + base64.b64encode(b"duly:guess").decode()}
    with capture_logs() as logs:
        async with connect(access="basic", password="s3cret") as client:
            for _ in range(70):
                await client.post("/monitoring/queues/default/pause")
            await client.get("/monitoring/", headers=wrong)

    assert [record.action for record in inspector.audited] == ["post"] * 60 + ["log_in"]
    told = lines(logs)
    assert len(told) == 71
    assert sum("not_stored" in line for line in told) == 10
    assert (told[-1]["action"], told[-1]["target"]) == ("log_in", "user=duly")


async def test_an_action_on_many_names_the_first_hundred(client, inspector):
    active = next(task for task in inspector.held if task.state == "active")
    inspector.held.extend(replace(active, id=f"t{number}") for number in range(150))
    body = {
        "operation": "cancel", "outcome": "retry", "dry_run": False,
        "tasks": [{"id": f"t{number}"} for number in range(150)],
    }  # fmt: skip
    with capture_logs() as logs:
        begun = await client.post(f"{API}/bulk", json=body)
    page = (await client.get("/monitoring/audit")).text
    listed = (await client.get(f"{API}/audit")).json()["records"][0]

    assert begun.status_code == 200
    (record,) = inspector.audited
    assert (record.count, record.detail) == (150, "outcome: retry")
    assert record.tasks == tuple(f"default/t{number}" for number in range(100))
    assert lines(logs)[0]["tasks"] == record.tasks
    assert listed["tasks"] == list(record.tasks)
    assert "100 of 150 by name" in page
    assert "default/t99" in page


@pytest.mark.parametrize(
    "path", ["/monitoring/tasks/default/9f2c41d8e0b70/cancel", "/monitoring/bulk"]
)
async def test_pages_record_what_is_to_become_of_what_is_cancelled(client, inspector, path):
    form = {"operation": "cancel", "q": "state:active", "outcome": "delete"}
    await client.post(path, data=form)

    assert inspector.audited[-1].detail == "outcome: delete"


async def test_a_broker_that_takes_no_record_keeps_nobody_from_acting(client, inspector):
    async def refuse(*_, **__):
        from duly.errors import BrokerError

        raise BrokerError("NOPERM")

    inspector.audit.append = refuse
    with capture_logs() as logs:
        answer = await client.post("/monitoring/queues/default/pause")

    assert answer.status_code == 303
    (line,) = lines(logs)
    assert line["not_stored"] == "NOPERM"


def test_every_route_that_changes_something_is_audited(build):
    app = build()
    posts = [
        route for route in app.routes
        if isinstance(route, Route) and route.methods and "POST" in route.methods
    ]  # fmt: skip

    assert len(posts) >= 11
    for route in posts:
        if route.path.endswith("/bulk/selected"):  # it asks, by a form that is long
            assert route.endpoint.__qualname__.startswith("Audit.viewing.")
            continue
        assert route.endpoint.__qualname__.startswith("Audit.acting."), route.path
        assert route.name
