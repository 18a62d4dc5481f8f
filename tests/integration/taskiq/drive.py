"""Uses the shop as its customers do, and prints what they see as JSON."""

import asyncio
import json

import httpx
from shop.broker import broker
from shop.front import app
from taskiq.task import AsyncTaskiqTask

CALLS = [
    ("/orders", {"number": 1, "customer": "ada", "lines": {"book": 2}}),
    ("/orders", {"number": 2, "customer": "bob", "lines": {"lamp": 1}}),
    ("/orders", {"number": "3", "customer": "eve", "lines": {}}),
    ("/charges/4", None),
    ("/parcels/5", None),
]


async def outcome(task_id):
    result = await AsyncTaskiqTask(task_id, broker.result_backend).wait_result(
        check_interval=0.05, timeout=60
    )
    error = result.error and [type(result.error).__name__, str(result.error)]
    labels = {name: value for name, value in result.labels.items() if name != "schedule"}
    return [repr(result.return_value), error, labels]


async def main():
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as http,
    ):
        sent = [(await http.post(path, json=body)).raise_for_status() for path, body in CALLS]
        print(json.dumps([await outcome(answer.json()["task"]) for answer in sent]))


asyncio.run(main())
