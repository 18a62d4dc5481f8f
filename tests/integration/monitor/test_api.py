"""The API over a real broker: what it shows of everything, and keys that enqueue once."""

from datetime import timedelta

import httpx
import pytest

from duly.engine.enqueue.client import Client
from duly.engine.enqueue.kind_publisher import KindPublisher
from duly.engine.inspection.inspector import Inspector
from duly.flow import group, step
from duly.job import Aggregate, Job, Policy
from duly.runtime.monitor_settings import MonitorSettings
from duly.runtime.settings import Settings
from duly_monitor.app import build_app

API = "/monitoring/api/v1"


class Bill(Job, kind="bill", policy=Policy(unique_for=timedelta(hours=1))):
    order_id: int = 0


class Part(Job, kind="part"):
    number: int = 0


class Mention(Job, kind="mention", policy=Policy(aggregate=Aggregate(grace=timedelta(hours=1)))):
    post: int = 0


@pytest.fixture
async def client(broker_settings):
    async with Client.connect(broker_settings) as client:
        yield client


@pytest.fixture
async def api(broker_settings, client, store):
    """A program that talks to a monitor on a broker that holds some of everything."""
    await client.enqueue(Bill(order_id=1))
    await client.enqueue(Mention(post=1), group="ada")
    await client.start(group([Part(number=1), Part(number=2)], then=step(Part(number=3))))
    await KindPublisher(store).publish([Part])
    settings = Settings(redis=broker_settings, monitor=MonitorSettings(access="local"))
    async with Inspector.connect(broker_settings) as inspector:
        app = build_app(settings, inspector, client)
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as api,
        ):
            yield api


async def test_everything_in_a_queue_is_shown(api):
    queue = f"{API}/queues/default"

    (lock,) = (await api.get(f"{queue}/locks")).json()["locks"]
    (waits,) = (await api.get(f"{queue}/groups")).json()["groups"]
    (join,) = (await api.get(f"{queue}/joins")).json()["joins"]
    (broker,) = (await api.get(f"{API}/brokers")).json()["brokers"]
    days = (await api.get(f"{queue}/days?count=2")).json()["days"]

    assert lock["task_id"]
    assert (waits["kind"], waits["name"], waits["size"]) == ("mention", "ada", 1)
    assert (join["members"], join["awaited"], join["kind"]) == (2, [0, 1], "part")
    assert broker["queues"] == ["default"]
    assert len(days) == 2


async def test_many_are_deleted_in_the_background(api, until):
    body = {"operation": "delete", "q": "kind:part state:waiting", "dry_run": False}

    begun = (await api.post(f"{API}/bulk", json=body)).json()

    async def done():
        return (await api.get(f"{API}/bulk/{begun['bulk_id']}")).json()["state"] == "done"

    await until(done)
    assert begun["eligible"] == 2
    found = (await api.get(f"{API}/search", params={"q": "kind:part"})).json()
    assert found["tasks"] == []
    records = (await api.get(f"{API}/audit")).json()["records"]
    assert (records[0]["action"], records[0]["count"]) == ("delete_tasks", 2)


async def test_a_key_enqueues_once(api):
    body = {"kind": "part", "payload": {"number": 9}}
    headers = {"Idempotency-Key": "order-9"}
    ids = []
    for _ in range(2):
        answer = await api.post(f"{API}/queues/default/tasks", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        ids.append(answer.json()["id"])

    assert ids[0] == ids[1]
    found = (await api.get(f"{API}/search", params={"q": "kind:part args.number:9"})).json()
    assert len(found["tasks"]) == 1


async def test_a_task_is_run_again_with_other_fields(api):
    task_id = (
        await api.post(
            f"{API}/queues/default/tasks",
            json={"kind": "part", "payload": {"number": 5}, "delay_seconds": 600},
        )
    ).json()["id"]

    body = {"changes": {"number": 6}, "reason": "a slip"}
    new = await api.post(f"{API}/tasks/{task_id}/rerun", json=body)

    assert new.status_code == 200, new.text
    assert new.json()["payload"] == {"number": 6}
    assert new.json()["id"] != task_id
