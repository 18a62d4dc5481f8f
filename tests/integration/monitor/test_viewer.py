"""A monitor whose user at the broker may only read: looking works, and changes nothing."""

import httpx
import pytest
from structlog.testing import capture_logs

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.roles import ROLES
from duly.job import Job
from duly.runtime.monitor_settings import MonitorSettings
from duly.runtime.settings import Settings
from duly.task import TaskState
from duly.testing.servers import BrokerServer
from duly_monitor.app import build_app

RULES = ROLES["viewer"].rule(user="duly", password="").partition(" on ")[2]
PAGES = [
    "/monitoring/",
    "/monitoring/queues/default",
    *(f"/monitoring/queues/default?state={state.value}" for state in TaskState),
    "/monitoring/failures",
    "/monitoring/tasks/default/one",
    "/monitoring/schedules",
    "/monitoring/servers",
    "/monitoring/audit",
    "/monitoring/api/v1/queues",
    "/monitoring/api/v1/queues/default",
    "/monitoring/api/v1/queues/default/minutes",
    "/monitoring/api/v1/queues/default/tasks",
    "/monitoring/api/v1/tasks/one",
    "/monitoring/api/v1/schedules",
    "/monitoring/api/v1/servers",
    "/monitoring/api/v1/kinds",
    "/metrics",
    "/readyz",
]


class Plain(Job, kind="plain"):
    pass


@pytest.fixture
def server(tmp_path):
    with BrokerServer.acl(tmp_path, rules=RULES) as server:
        yield server


@pytest.fixture
async def browser(server):
    """A browser of a monitor that is such a user; one task waits."""
    with server.client(admin=True) as admin:
        admin.execute_command("ACL", "SETUSER", "maker", "on", ">secret", "~*", "&*", "+@all")
    maker = server.settings().model_copy(update={"username": "maker"})
    async with Client.connect(maker) as client:
        await client.enqueue(Plain(), task_id="one")
    settings = Settings(redis=server.settings(), monitor=MonitorSettings(access="local"))
    async with (
        Inspector.connect(settings.redis) as inspector,
        Client.connect(settings.redis) as client,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(
                build_app(settings, inspector, client), client=("127.0.0.1", 1)
            ),
            base_url="http://localhost",
            headers={"Sec-Fetch-Site": "same-origin"},
        ) as browser,
    ):
        yield browser


async def test_looking_needs_no_right_to_write(server, browser):
    answers = {path: (await browser.get(path)).status_code for path in PAGES}

    assert answers == dict.fromkeys(PAGES, 200)
    with server.client(admin=True) as admin:
        denied = [(entry["object"], entry["count"]) for entry in admin.acl_log()]
        # Whether it may run scripts is tried, once.
        assert denied in ([], [("evalsha", 1)])


async def test_a_change_is_refused_by_the_broker_and_leaves_a_line(browser):
    with capture_logs() as logs:
        answer = await browser.post("/monitoring/queues/default/pause")

    assert answer.status_code == 502
    assert "refused" in answer.text
    (line,) = [line for line in logs if line["event"] == "Audit record"]
    assert (line["action"], line["result"]) == ("pause_queue", "failed")
    assert "not_stored" in line
