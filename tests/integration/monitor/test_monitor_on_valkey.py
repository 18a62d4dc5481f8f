"""The monitor over the real inspector: what a worker leaves behind is shown, and put right."""

from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest

from duly.engine.enqueue.client import Client
from duly.engine.enqueue.ticks import Ticks
from duly.engine.inspection.inspector import Inspector
from duly.job import Job, Policy
from duly.runtime.settings import MonitorSettings, Settings
from duly.schedule import Entry
from duly.task import TaskState
from duly_monitor.app import build_app

ONCE = Policy(queue="default", max_attempts=1, retention=timedelta(hours=1))


class SendInvoice(Job, kind="send_invoice", policy=ONCE):
    invoice_id: int
    customer_email: str = ""


class Cause:
    """Why it fails, until it is gone."""

    def __init__(self):
        self.gone = False
        self.runs = 0

    async def __call__(self, job, _context):
        self.runs += 1
        if not self.gone:
            raise RuntimeError(f"<b>no gateway</b> for {job.invoice_id}")


@pytest.fixture
async def parts(each_broker):
    """A client, an inspector and a browser on one broker."""
    monitor = MonitorSettings(access="local")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client.connect(each_broker))
        inspector = await stack.enter_async_context(Inspector.connect(each_broker))
        app = build_app(Settings(redis=each_broker, monitor=monitor), inspector, client)
        browser = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, client=("127.0.0.1", 1)),
                base_url="http://localhost",
                headers={"Sec-Fetch-Site": "same-origin"},
            )
        )
        yield client, inspector, browser


async def test_a_failed_task_is_seen_retried_from_the_page_and_succeeds(
    each_broker, parts, until, working
):
    client, inspector, browser = parts
    cause = Cause()
    task = await client.enqueue(SendInvoice(invoice_id=7, customer_email="ada@example.org"))

    async def state():
        return (await inspector.tasks.get("default", task.id)).state

    async with working(each_broker, {SendInvoice: cause}, 2):
        await until(lambda: _is(state, TaskState.ARCHIVED))
        failures = (await browser.get("/monitoring/failures")).text
        page = (await browser.get(f"/monitoring/tasks/default/{task.id}")).text
        cause.gone = True
        answer = await browser.post(
            f"/monitoring/tasks/default/{task.id}/run", data={"back": "/monitoring/failures"}
        )
        await until(lambda: _is(state, TaskState.COMPLETED))

    assert "RuntimeError: &lt;b&gt;no gateway&lt;/b&gt; for 7" in failures
    assert "in __call__" in page
    assert "ada@example.org" not in page
    assert answer.headers["Location"] == "/monitoring/failures?done=run"
    assert "No failures." in (await browser.get("/monitoring/failures")).text
    assert cause.runs == 2


async def test_retry_without_a_worker_leaves_the_task_waiting(each_broker, parts, until, working):
    client, inspector, browser = parts
    task = await client.enqueue(SendInvoice(invoice_id=8))

    async def state():
        return (await inspector.tasks.get("default", task.id)).state

    async with working(each_broker, {SendInvoice: Cause()}, 2):
        await until(lambda: _is(state, TaskState.ARCHIVED))
    answer = await browser.post(f"/monitoring/api/v1/tasks/{task.id}/run")

    assert answer.status_code == 200
    assert await state() is TaskState.WAITING


async def test_every_page_and_every_list_works_on_real_data(each_broker, parts, until, working):
    client, inspector, browser = parts
    entry = Entry(id="invoices", job=SendInvoice(invoice_id=1), interval=timedelta(seconds=1))
    async with Ticks.connect(each_broker) as ticks:
        await ticks.announce((entry,))
        await until(lambda: _ticked(ticks, entry))
    for index in range(45):
        await client.enqueue(SendInvoice(invoice_id=index))
    await client.enqueue(SendInvoice(invoice_id=99), delay=timedelta(hours=1))

    async with working(each_broker, {SendInvoice: Cause()}, 2):
        await until(lambda: _counts(inspector, archived=46))
        paths = ["", "/queues/default", "/failures", "/schedules", "/servers"]
        pages = {path: await browser.get(f"/monitoring{path}") for path in paths}
        lists = [
            await browser.get(f"/monitoring/api/v1/queues/default/tasks?state={state.value}")
            for state in TaskState
        ]
        wrong = await browser.get("/monitoring/api/v1/queues/default/tasks?cursor=nonsense")
        metrics = (await browser.get("/metrics")).text

    assert {page.status_code for page in [*pages.values(), *lists]} == {200}
    assert wrong.status_code == 400
    assert "46 failed tasks, 1 cause" in pages["/failures"].text
    assert 'id="entry-invoices"' in pages["/schedules"].text
    assert 'id="server-' in pages["/servers"].text
    assert "\nduly_monitor_broker_up 1.0\n" in metrics


async def test_archived_tasks_are_paged_to_the_end(each_broker, parts, until, working):
    client, inspector, browser = parts
    for index in range(25):
        await client.enqueue(SendInvoice(invoice_id=index))
    async with working(each_broker, {SendInvoice: Cause()}, 2):
        await until(lambda: _counts(inspector, archived=25))
    seen, parameters = [], {"state": "archived", "limit": 10}
    while parameters:
        page = (
            await browser.get("/monitoring/api/v1/queues/default/tasks", params=parameters)
        ).json()
        seen += [task["id"] for task in page["tasks"]]
        parameters = page["next_cursor"] and {**parameters, "cursor": page["next_cursor"]}

    assert len(seen) == len(set(seen)) == 25


async def test_pausing_from_the_page_holds_tasks_back_until_resumed(
    each_broker, parts, until, working
):
    client, inspector, browser = parts
    cause = Cause()
    cause.gone = True
    async with working(each_broker, {SendInvoice: cause}, 2):
        await until(lambda: _exists(inspector))
        await browser.post("/monitoring/queues/default/pause")
        paused = (await browser.get("/monitoring/queues/default")).text
        task = await client.enqueue(SendInvoice(invoice_id=3))
        await browser.post("/monitoring/queues/default/resume")
        await until(lambda: cause.runs == 1)

    assert "paused for" in paused
    assert (await inspector.tasks.get("default", task.id)).state is TaskState.COMPLETED


async def _is(state, wanted):
    return await state() is wanted


async def _ticked(ticks, entry):
    return bool((await ticks.tick(entry)).reports)


async def _counts(inspector, *, archived):
    return (await inspector.queues.get("default")).archived == archived


async def _exists(inspector):
    return [report.name for report in await inspector.queues.list()] == ["default"]
