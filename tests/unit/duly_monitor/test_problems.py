"""Errors as pages."""

import pytest
from structlog.testing import capture_logs

from duly.errors import BrokerError, DulyError


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring/nope",
        "/monitoring/queues/none",
        "/monitoring/queues/..%2f..",
        "/monitoring/queues/" + "q" * 65,
        "/monitoring/tasks/default/none",
        "/monitoring/tasks/default/" + "t" * 257,
        "/monitoring/live/nope",
        "/monitoring/static/../app.py",
        "/monitoring/static/..%2fapp.py",
    ],
)
async def test_what_is_not_there_is_a_friendly_404(client, path):
    answer = await client.get(path)

    assert answer.status_code == 404
    assert "Not found" in answer.text


async def test_broker_down_is_a_page_that_says_so(client, inspector):
    inspector.down = True

    answer = await client.get("/monitoring/")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "Broker unreachable" in answer.text


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        pytest.param(ZeroDivisionError("secret"), 500, "Internal error", id="a defect"),
        pytest.param(DulyError("odd"), 500, "Internal error", id="an error of the engine"),
        pytest.param(BrokerError("WRONGTYPE of a key"), 502, "WRONGTYPE of a key", id="the broker"),
    ],
)
@pytest.mark.parametrize("path", ["/monitoring/", "/monitoring/api/v1/queues"])
async def test_an_error_is_logged_once_under_the_id_that_is_shown(
    client, inspector, path, *, error, status, shown
):
    async def fail():
        raise error

    inspector.queues.list = fail
    with capture_logs() as logs:
        first = await client.get(path)
        second = await client.get(path)

    (entry,) = [line for line in logs if line["log_level"] == "error"]
    assert (entry["event"], entry["path"]) == ("Request failed", path)
    assert f"{type(error).__name__}: {error}" in entry["traceback"]
    assert entry["request_id"] == first.headers["X-Request-Id"]
    for answer in (first, second):
        assert answer.status_code == status
        assert f"incident {entry['incident']}" in answer.text
        assert shown in answer.text
        assert answer.headers["X-Request-Id"] in answer.text
        assert "secret" not in answer.text
        assert answer.headers["X-Frame-Options"] == "DENY"


async def test_a_cursor_of_something_else_is_a_bad_request(client):
    answer = await client.get(
        "/monitoring/api/v1/queues/default/tasks?cursor=18446744073709551616-0"
    )

    assert answer.status_code == 400
    assert answer.json()["title"] == "Bad request"


async def test_the_page_of_a_conflict_leads_back_by_a_get(client):
    path = "/monitoring/tasks/default/9f2c41d8e0b70"

    answer = await client.post(f"{path}/run")

    assert answer.status_code == 409
    assert f'href="{path}">Go back</a>' in answer.text
    assert "eload" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring/tasks/default/a1b2c3d4e5f60718/run",
        "/monitoring/queues/default/pause",
        "/monitoring/api/v1/tasks/a1b2c3d4e5f60718/delete",
    ],
)
async def test_an_action_is_no_get_and_the_answer_says_what_it_is(client, path):
    answer = await client.get(path)

    assert answer.status_code == 405
    assert answer.headers.get_list("Allow") == ["POST"]


async def test_a_page_is_no_post(client):
    answer = await client.post("/monitoring/servers")

    assert answer.status_code == 405
    assert answer.headers.get_list("Allow") in (["GET, HEAD"], ["HEAD, GET"])
