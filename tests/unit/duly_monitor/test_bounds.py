"""Bounds on everything a request may ask for."""

import pytest


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1e3",
        "state=nope",
        "state=",
        "cursor=%00",
        "cursor=" + "1" * 513,
        "limit=99999999999999999999",
    ],
)
@pytest.mark.parametrize(
    "path", ["/monitoring/queues/default", "/monitoring/api/v1/queues/default/tasks"]
)
async def test_parameters_out_of_bounds_are_named(client, path, query):
    answer = await client.get(f"{path}?{query}")

    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.text
