"""Errors as pages."""

import pytest


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
    assert "Nothing here" in answer.text


async def test_broker_down_is_a_page_that_says_so(client, inspector):
    inspector.down = True

    answer = await client.get("/monitoring/")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "The broker does not answer" in answer.text
