"""One task with its history and buttons."""

import html
import re
from datetime import timedelta

import pytest

from duly.task import Attempt, AttemptOutcome, Task, TaskState


async def test_an_action_leads_back_to_the_task(client, inspector):
    own = "/monitoring/tasks/default/a1b2c3d4e5f60718"

    answer = await client.post(f"{own}/run", data={"back": own})
    page = await client.get(answer.headers["Location"])

    assert answer.status_code == 303
    assert answer.headers["Location"] == f"{own}?done=run"
    assert (await inspector.tasks.find("a1b2c3d4e5f60718")).state is TaskState.WAITING
    assert "Task re-queued, attempts reset" in page.text


async def test_a_task_that_is_gone_says_what_may_have_become_of_it(client):
    page = await client.get("/monitoring/tasks/default/none?done=run")

    assert page.status_code == 404
    assert "Task re-queued" in page.text
    assert "A task that succeeds is kept only as long as its kind says" in page.text


@pytest.mark.parametrize("back", ["https://evil.example", "//evil.example", "queue", ""])
async def test_a_form_never_leads_to_another_site(client, back):
    answer = await client.post(
        "/monitoring/tasks/default/a1b2c3d4e5f60718/delete", data={"back": back}
    )

    assert answer.headers["Location"] == "/monitoring/queues/default?done=delete"


async def test_operating_on_a_task_that_moved_on_says_where_it_is(client):
    answer = await client.post("/monitoring/tasks/default/9f2c41d8e0b70/delete")

    assert answer.status_code == 409
    assert "is active" in answer.text


@pytest.mark.parametrize("path", ["/monitoring/tasks/default/", "/monitoring/api/v1/tasks/"])
async def test_task_shows_its_payload_without_secrets(client, path):
    text = (await client.get(f"{path}a1b2c3d4e5f60718")).text

    assert "9007199254740993" in text
    assert "GatewayError" in text
    for secret in ("ada@example.org", "s3cr3t-value", "hunter2"):
        assert secret not in text


@pytest.mark.parametrize(
    ("path", "present", "absent"),
    [
        ("default/a1b2c3d4e5f60718", ("/run", "/delete"), ("/archive",)),
        ("default/9f2c41d8e0b70", ("/cancel",), ("/run", "/delete", "/archive", "/rerun")),
        ("default/beef000000000000", ("/archive", "/delete"), ("/run",)),
        ("default/5d5d5d5d00000002", ("/run", "/archive", "/delete"), ()),
        ("critical/c0c0c0c000000001", ("/delete",), ("/run", "/archive")),
    ],
)
async def test_task_offers_what_its_state_allows(client, path, present, absent):
    text = (await client.get(f"/monitoring/tasks/{path}")).text

    assert all(f'{path}{operation}"' in text for operation in present)
    assert not any(f'{path}{operation}"' in text for operation in absent)


async def test_a_completed_task_shows_when_it_ran_for_how_long_and_where(client):
    text = (await client.get("/monitoring/tasks/critical/c0c0c0c000000001")).text

    for shown in ("<dt>Attempts</dt><dd>1<", "<dt>Enqueued</dt>", "<dt>Ended</dt>", "succeeded"):
        assert shown in text
    assert re.search(r"attempt 1 succeeded</b>.*, after 8\.?0? s on", text)
    assert "worker-mixed-58b7-q1zzv:1:4be2" in text


@pytest.mark.parametrize("task_id", ["a/b", "a/run", "a b?c#d", "ü%20", "..", "<b>"])
async def test_task_with_an_awkward_id_can_be_seen_and_deleted(client, inspector, task_id):
    inspector.held.append(Task(id=task_id, queue="low", kind="odd", state=TaskState.RETRY))
    listing = (await client.get("/monitoring/queues/low?state=retry")).text

    link = re.search(r'class="name" href="([^"]+)"', listing)[1]
    shown = await client.get(link)
    deleted = await client.post(f"{link}/delete")

    assert shown.status_code == (404 if task_id == ".." else 200)
    assert deleted.status_code == (404 if task_id == ".." else 303)


async def test_huge_texts_are_cut(client, inspector):
    run = Attempt(
        number=1,
        outcome=AttemptOutcome.FAILED,
        at=inspector.at,
        duration=timedelta(seconds=1),
        error="E" * 100_000,
        traceback="T" * 1_000_000,
    )
    inspector.held.append(
        Task(
            id="huge",
            queue="low",
            kind="huge",
            state=TaskState.ARCHIVED,
            ended_at=inspector.at,
            payload={"blob": "P" * 1_000_000},
            history=(run,),
        )
    )

    text = (await client.get("/monitoring/tasks/low/huge")).text

    assert len(text) < 40_000
    assert "more characters" in text


async def test_a_cancelled_task_gets_the_outcome_that_was_chosen(client, inspector):
    own = "/monitoring/tasks/default/9f2c41d8e0b70"

    done = await client.post(f"{own}/cancel", data={"outcome": "retry"})
    wrong = await client.post(f"{own}/cancel", data={"outcome": "explode"})

    assert done.headers["Location"] == f"{own}?done=cancel-retry"
    assert inspector.cancelled == [("9f2c41d8e0b70", "retry")]
    assert (wrong.status_code, "archive, retry, delete" in wrong.text) == (400, True)


async def test_a_task_is_run_as_a_new_one_with_another_payload_in_another_queue(client, inspector):
    own = "/monitoring/tasks/default/a1b2c3d4e5f60718"
    page = (await client.get(own)).text
    shown = html.unescape(re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)[1])
    payload = shown.replace('"quantity": 2', '"quantity": 3')

    answer = await client.post(f"{own}/rerun", data={"payload": payload, "queue": "low"})
    new = await inspector.tasks.get("low", "a1b2c3d4e5f60718~1")
    page = (await client.get(answer.headers["Location"])).text

    assert "ada@example.org" not in shown
    assert new.payload["lines"] == [{"sku": "A-1", "quantity": 3}]
    assert new.payload["customer_email"] == "ada@example.org"
    assert "Made from" in page
    assert inspector.audited[-1].detail == "fields: lines"


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "must be a JSON object"),
        ("{}", "a field cannot be removed here"),
    ],
)
async def test_a_payload_that_is_none_is_refused(client, inspector, payload, said):
    answer = await client.post(
        "/monitoring/tasks/default/a1b2c3d4e5f60718/rerun", data={"payload": payload}
    )

    assert (answer.status_code, said in answer.text) == (400, True)
    assert not any(task.id.endswith("~1") for task in inspector.held)


async def test_a_scheduled_task_gets_another_payload_in_place(client, inspector):
    own = "/monitoring/tasks/default/5d5d5d5d00000002"

    await client.post(f"{own}/edit", data={"payload": '{"customer": 13}'})

    assert (await inspector.tasks.get("default", "5d5d5d5d00000002")).payload == {"customer": 13}


async def test_the_bytes_of_what_cannot_be_read_are_escaped_and_bounded(client):
    page = (await client.get("/monitoring/tasks/low/1764041400000-0")).text
    text = (await client.get("/monitoring/tasks/low/1764041400000-0/message")).text

    assert "/tasks/low/1764041400000-0/message" in page
    assert r"\x00{&#34;&lt;img src=x onerror=alert(1)&gt;" in text
    assert "more bytes)" in text


async def test_the_page_tells_the_whole_life_of_a_task(client):
    text = (await client.get("/monitoring/tasks/default/5d5d5d5d00000001")).text

    lines = re.findall(r"<b>([^<]+)</b>", text)
    assert lines == [
        "enqueued",
        "2 older attempts, no longer recorded",
        "attempt 3 failed",
        "attempt 2 is due",
    ]
    assert "Next attempt" in text


async def test_links_lead_to_traces_and_logs_where_the_settings_say(connect):
    links = {"logs": "https://logs.example/?q={task_id}&from={from_ms}"}
    async with connect(links=links) as client:
        text = (await client.get("/monitoring/tasks/default/a1b2c3d4e5f60718")).text

    assert text.count('href="https://logs.example/?q=a1b2c3d4e5f60718&amp;from=') == 4
