"""The monitor over a real broker and a real worker: found by its words, mended by its forms."""

import asyncio
import html
import re
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import BulkRunState
from duly.job import Job, Policy
from duly.runtime.settings import MonitorSettings, Settings
from duly.task import TaskState
from duly_monitor.app import build_app

HOUR = timedelta(hours=1)


class Mail(Job, kind="mail", policy=Policy(queue="default", max_attempts=2, retention=HOUR)):
    number: int
    token: str = "s3cret-value"


@pytest.fixture
async def parts(broker_settings):
    """A client, an inspector and a browser of a monitor that runs."""
    settings = Settings(redis=broker_settings, monitor=MonitorSettings(access="local"))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client.connect(broker_settings))
        inspector = await stack.enter_async_context(Inspector.connect(broker_settings))
        app = build_app(settings, inspector, client)
        await stack.enter_async_context(app.router.lifespan_context(app))
        browser = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, client=("127.0.0.1", 1)),
                base_url="http://localhost/monitoring/",
                headers={"Sec-Fetch-Site": "same-origin"},
            )
        )
        yield client, inspector, browser


async def test_seven_hundred_of_one_cause_are_retried_and_the_others_are_not(parts, until):
    client, inspector, browser = parts
    tasks = await client.enqueue_many([Mail(number=number) for number in range(250)])
    for task in tasks:
        await inspector.tasks.archive("default", task.id)
    kept = await client.enqueue(Mail(number=1_000), delay=HOUR)

    failures = (await browser.get("failures")).text
    link = html.unescape(re.search(r'href="/monitoring/([^"]+operation=run)"', failures)[1])
    question = (await browser.get(link)).text
    hidden = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', question)
    form = {name: html.unescape(value) for name, value in hidden}
    late = await client.enqueue(Mail(number=2_000))
    await inspector.tasks.archive("default", late.id)
    answer = await browser.post("bulk", data=form | {"pace": "0"})
    run_id = answer.headers["Location"].rpartition("/")[2]

    async def ended():
        return (await inspector.bulk_runs.get(run_id)).state is not BulkRunState.RUNNING

    await until(ended)
    page = (await browser.get(f"http://localhost{answer.headers['Location']}")).text

    report = await inspector.queues.get("default")
    assert "Retry these 250" in failures
    assert "Retry 250 tasks?" in question
    assert (report.waiting, report.archived, report.scheduled) == (250, 1, 1)
    assert (await inspector.tasks.get("default", kept.id)).state is TaskState.SCHEDULED
    assert re.search(r"<dt>Done</dt><dd>250<", page)
    (record, *_) = (await inspector.audit.list(limit=10)).records
    assert (record.action, record.count, record.result) == ("run_tasks", 250, "started")


async def test_a_running_task_is_cancelled_from_its_page_and_stays_there(
    broker_settings, parts, until, working
):
    client, _, browser = parts
    task = await client.enqueue(Mail(number=1))
    begun = asyncio.Event()

    async def hang(_job, context):
        begun.set()
        context.progress(0.5, "half of it")
        await asyncio.Event().wait()

    async def page():
        return (await browser.get(f"tasks/default/{task.id}")).text

    async with working(broker_settings, {Mail: hang}, 4):
        await begun.wait()
        await until(lambda: _holds(page, "half of it"))
        # What workers run is shared by all pages for a second.
        await until(lambda: _holds(page, "Running for"))
        shown = await page()
        answer = await browser.post(f"tasks/default/{task.id}/cancel", data={"outcome": "archive"})
        await until(lambda: _holds(page, "attempt 1 cancelled"))

    assert "s3cret-value" not in shown
    assert answer.headers["Location"] == f"/monitoring/tasks/default/{task.id}?done=cancel-archive"


async def test_a_task_is_run_as_new_with_another_payload_and_keeps_its_secret(parts):
    client, inspector, browser = parts
    task = await client.enqueue(Mail(number=1, token="hunter2"), delay=HOUR)
    page = (await browser.get(f"tasks/default/{task.id}")).text
    payload = html.unescape(re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)[1])

    answer = await browser.post(
        f"tasks/default/{task.id}/rerun", data={"payload": payload.replace("1", "7")}
    )
    new = (await browser.get(f"http://localhost{answer.headers['Location']}")).text
    old = (await browser.get(f"tasks/default/{task.id}")).text

    (waiting,) = (await inspector.tasks.list("default", TaskState.WAITING)).tasks
    assert waiting.payload == {"number": 7, "token": "hunter2"}
    assert "hunter2" not in page + new + old
    assert "Made from" in new
    assert "Replaced by" in old


async def test_a_search_finds_one_of_many_by_its_payload(parts):
    client, _, browser = parts
    tasks = await client.enqueue_many([Mail(number=number) for number in range(60)])

    found = (await browser.get("search", params={"q": "args.number:41"})).text
    by_id = await browser.get("search", params={"q": tasks[3].id})

    assert re.search(r"1 task found.\s+All 60 tasks looked at.", found)
    assert tasks[41].id in found
    assert by_id.headers["Location"] == f"/monitoring/tasks/default/{tasks[3].id}"


async def test_every_page_of_a_list_is_reached_from_both_ends(parts):
    client, _, browser = parts
    tasks = await client.enqueue_many([Mail(number=number) for number in range(25)])

    async def follow(name):
        seen, address = [], "?state=waiting&limit=10"
        if name == "Previous":
            first = (await browser.get(f"queues/default{address}")).text
            address = html.unescape(re.search(r'href="([^"]+)">Last page', first)[1])
        while address:
            text = (await browser.get(f"queues/default{address}")).text
            seen.append(re.search(r'class="quiet">(\S+ of 25)<', text)[1])
            seen += re.findall(r'value="waiting/-1/default/([^"]+)"', text)
            link = re.search(rf'href="([^"]+)">{name} page', text)
            address = html.unescape(link[1]) if link else ""
        return seen

    forward, back = await follow("Next"), await follow("Previous")

    dash = "\N{EN DASH}"
    ids = [task.id for task in tasks]
    pages = [
        [f"{first + 1}{dash}{first + len(part)} of 25", *part]
        for first, part in ((0, ids[:10]), (10, ids[10:20]), (20, ids[20:]))
    ]
    assert forward == [*pages[0], *pages[1], *pages[2]]
    assert back == [*pages[2], *pages[1], *pages[0]]


async def test_a_queue_is_paused_with_a_reason_and_removed(parts):
    client, inspector, browser = parts
    await client.enqueue(Mail(number=1))

    await browser.post("queues/default/pause", data={"reason": "the gateway is down"})
    page = (await browser.get("queues/default")).text
    await browser.post("queues/default/remove", data={"name": "default"})

    assert "the gateway is down" in page
    assert await inspector.queues.list() == []


async def test_a_task_is_enqueued_by_the_form_of_a_published_kind(
    broker_settings, parts, until, working
):
    _, inspector, browser = parts
    done = asyncio.Event()

    async def handle(job, _context):
        assert job.number == 12
        done.set()

    async with working(broker_settings, {Mail: handle}, 4):
        await until(lambda: _published(inspector))
        form = (await browser.get("queues/default/enqueue?kind=mail")).text
        answer = await browser.post(
            "queues/default/enqueue", data={"kind": "mail", "field.number": "12"}
        )
        await asyncio.wait_for(done.wait(), 60)

    assert 'name="field.number"' in form
    assert answer.status_code == 303


async def _holds(page, text):
    return text in await page()


async def _published(inspector):
    return "mail" in await inspector.kinds.names()
