"""The monitor behind a real nginx, set up as docs/monitor.md says."""

import asyncio
import os
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.job import Job
from duly.runtime.monitor_settings import MonitorSettings
from duly.runtime.settings import Settings
from duly.testing.environment import in_ci
from duly.testing.processes import free_port, spawn, stop
from duly_monitor.app import build_app
from duly_monitor.serving import listen, serve

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/monitor.md"
CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""
MONITOR = {
    "access": "basic",
    "password": "s3cret",
    "proxy": {"networks": ["127.0.0.1"]},
}


class Plain(Job, kind="plain"):
    pass


def nginx_program():
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        if in_ci():
            pytest.fail("CI must have nginx")
        pytest.skip("nginx is not installed")
    return found


@asynccontextmanager
async def behind_nginx(redis, until, folder, *, prefix="/monitoring", scheme="http"):
    """Serve a monitor behind nginx; yield a client of nginx and the inspector."""
    block = re.search(r"```nginx\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]
    settings = Settings(redis=redis, monitor=MonitorSettings(prefix=prefix, **MONITOR))
    port, over = free_port(), asyncio.Event()
    with listen("127.0.0.1", 0) as listener:
        location = (
            block.replace("127.0.0.1:8080", f"127.0.0.1:{listener.getsockname()[1]}")
            .replace("/monitoring/", f"{prefix}/")
            .replace("$scheme", scheme)
        )
        file = folder / "nginx.conf"
        file.write_text(CONFIGURATION.format(folder=folder, port=port, location=location))
        command = [nginx_program(), "-p", folder, "-c", file]
        async with (
            Inspector.connect(redis) as inspector,
            Client.connect(redis) as client,
            asyncio.TaskGroup() as group,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
            ) as browser,
        ):
            app = build_app(settings, inspector, client)
            group.create_task(serve(app, listener, over, app.state.feed.close))
            process = spawn(command, log=folder / "log", folder=folder, environment={})
            try:
                await until(lambda: answers(browser))
                yield browser, inspector
            finally:
                over.set()
                stop(process)


async def answers(browser):
    try:
        await browser.get("/")
    except httpx.ConnectError:
        return False
    return True


@pytest.mark.parametrize("prefix", ["/monitoring", "/ops/duly"])
async def test_people_log_in_and_act_behind_nginx(broker_settings, until, tmp_path, prefix):
    redis = broker_settings
    async with Client.connect(redis) as client:
        await client.enqueue(Plain())
    async with behind_nginx(redis, until, tmp_path, prefix=prefix) as (browser, inspector):
        # An old browser: it names its origin, and nothing else.
        own = {"Origin": str(browser.base_url).rstrip("/"), "X-Forwarded-For": "203.0.113.99"}
        form = {"username": "duly", "password": "s3cret"}
        first = await browser.get(f"{prefix}/", headers={"Accept": "text/html"})
        assert first.headers["Location"].startswith(f"{prefix}/login?next=")
        entered = await browser.post(f"{prefix}/login", data=form, headers=own)
        assert (entered.status_code, entered.headers["Location"]) == (303, f"{prefix}/")
        assert (await browser.get(f"{prefix}/")).status_code == 200
        assert (await browser.post(f"{prefix}/queues/default/pause", headers=own)).is_redirect
        foreign = {"Origin": "http://evil.example"}
        refused = await browser.post(f"{prefix}/queues/default/pause", headers=foreign)
        assert refused.status_code == 403

        records = (await inspector.audit.list()).records
        peers = {record.peer for record in records}
        assert peers == {"127.0.0.1"}  # nginx saw it; what the browser claimed counts for nothing
        assert records[0].request_id == refused.headers["X-Request-Id"]


async def test_over_https_the_cookie_is_secure(broker_settings, until, tmp_path):
    async with behind_nginx(broker_settings, until, tmp_path, scheme="https") as (browser, _):
        answer = await browser.post(
            "/monitoring/login",
            data={"username": "duly", "password": "s3cret"},
            headers={"Sec-Fetch-Site": "same-origin"},
        )

    assert "Secure" in answer.headers["Set-Cookie"]


async def test_events_pass_at_once(broker_settings, until, tmp_path):
    async with (
        behind_nginx(broker_settings, until, tmp_path) as (browser, _),
        asyncio.timeout(60),
        browser.stream("GET", "/monitoring/live/queues", auth=("duly", "s3cret")) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                break

    assert response.headers["Content-Type"].startswith("text/event-stream")
