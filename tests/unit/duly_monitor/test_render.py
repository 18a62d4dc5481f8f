"""From templates to bytes."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sample_tasks import FrozenClock, archived
from starlette.requests import Request

from duly.engine.storage.reports import MinuteReport
from duly.runtime.monitor_settings import MonitorSettings
from duly_monitor.pages.queue import QueuePage
from duly_monitor.pages.queues import QueuePages
from duly_monitor.pages.rows import Rows
from duly_monitor.permissions import ROLES, Identity, Role, identify
from duly_monitor.render import Renderer, Shown, spark


async def test_overview_shows_the_environment(connect):
    async with connect(environment="production <b>") as client:
        text = (await client.get("/monitoring/")).text

    assert 'class="badge tone-bad" title="environment">production &lt;b&gt;<' in text


@pytest.mark.parametrize(
    "path", ["/monitoring/failures", "/monitoring/tasks/low/evil", "/monitoring/api/v1/tasks/evil"]
)
async def test_lone_surrogates_and_control_characters_do_not_break_a_page(client, inspector, path):
    task = archived(
        "evil", "k\ud800", inspector.at, "E: \ud800\x00\x1b[31m", attempts=1, queue="low"
    )
    inspector.held.append(task)

    assert (await client.get(path)).status_code == 200


def test_a_spark_starts_at_zero_and_reaches_the_top():
    at = datetime(2026, 11, 25, tzinfo=UTC)
    minutes = [MinuteReport(at=at, processed=value, failed=0) for value in (0, 5, 10)]

    drawn = spark(minutes, 100, 20)

    assert drawn.processed == "0.0,19.0 50.0,10.0 100.0,1.0"
    assert drawn.peak == 10


def test_a_spark_of_nothing_is_empty():
    assert spark([]).processed == ""


VIEWER = Identity("vera", "viewer", ROLES[Role.VIEWER])
ADMIN = Identity("anna", "admin", ROLES[Role.ADMIN])


@pytest.fixture
def ask(inspector):
    """`ask(page, identity, address)` calls the handler of a page for somebody."""

    async def get(page, identity, address="/"):
        path, _, query = address.partition("?")
        request = Request({
            "type": "http", "method": "GET", "scheme": "http", "server": ("localhost", 8080),
            "headers": [], "path": path, "query_string": query.encode(),
            "path_params": {"name": "default"},
        })  # fmt: skip
        identify(request, identity)
        return (await page(request)).body.decode()

    return get


async def test_one_rendering_serves_all_who_see_the_same(inspector, ask, monkeypatch):
    renderer = Renderer(MonitorSettings(access="basic"), FrozenClock())
    pages, rendered = QueuePages(inspector, renderer), []
    (snapshot,), text = [await inspector.overview.recent()], renderer.text

    async def recent():
        return snapshot

    inspector.overview.recent = recent
    monkeypatch.setattr(
        renderer, "text", lambda *names, **values: rendered.append(names) or text(*names, **values)
    )

    first = await ask(pages.overview, ADMIN)
    assert await ask(pages.overview, ADMIN) == first
    assert len(rendered) == 1

    other = await ask(pages.overview, VIEWER)
    assert "anna" in first
    assert "anna" not in other
    assert '<span title="viewer">vera</span>' in other

    assert "Task deleted." in await ask(pages.overview, ADMIN, "/?done=delete")
    assert await ask(pages.overview, ADMIN) == first

    snapshot = replace(snapshot)
    await ask(pages.overview, ADMIN)
    assert len(rendered) == 4


async def test_what_an_admin_may_is_offered_to_nobody_else(inspector, ask):
    renderer = Renderer(MonitorSettings(access="basic"), FrozenClock())
    page = QueuePage(inspector, renderer, Rows(inspector))
    address = "/monitoring/queues/default?state=archived"

    mine = await ask(page.queue, ADMIN, address)
    theirs = await ask(page.queue, VIEWER, address)

    assert "Remove…" in mine
    for word in ("Remove…", "Pause…", "Enqueue…", 'value="delete"', "anna"):
        assert word not in theirs
    assert await ask(page.queue, ADMIN, address) == mine


async def test_a_reading_keeps_few_renderings(inspector, ask):
    renderer = Renderer(MonitorSettings(access="local"), FrozenClock())
    shown = Shown({"rows": [], "asked": ""})

    for number in range(40):
        renderer.page("schedules.html", shown=shown, back=str(number))

    assert len(shown.texts) == 16
