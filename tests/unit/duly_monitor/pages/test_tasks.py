"""Failures, and one task with its history and buttons."""

import re
from datetime import timedelta

import pytest

from duly.task import Attempt, AttemptOutcome, Task, TaskState


async def test_failures_come_newest_first_over_all_queues(client):
    text = (await client.get("/monitoring/failures")).text

    places = [
        text.index(id_) for id_ in ("a1b2c3d4e5f60718", "0f1e2d3c4b5a6978", "77aa88bb99cc00dd")
    ]
    assert places == sorted(places)
    assert "GatewayError: 502: upstream connect error" in text
    assert "gateway.py&#34;, line 88, in post" in text
    assert "unexpected &lt;img src=x onerror=alert(1)&gt; in line 7" in text


async def test_failures_without_any_is_kind(client, inspector):
    inspector.held.clear()

    assert "Nothing has failed for good." in (await client.get("/monitoring/failures")).text


async def test_retry_by_form_leads_back_with_a_message(client, inspector):
    answer = await client.post(
        "/monitoring/tasks/default/a1b2c3d4e5f60718/run", data={"back": "failures"}
    )
    page = await client.get(answer.headers["Location"])

    assert answer.status_code == 303
    assert answer.headers["Location"] == "/monitoring/failures?done=run"
    assert (await inspector.find("a1b2c3d4e5f60718")).state is TaskState.WAITING
    assert "The task waits again" in page.text
    assert "a1b2c3d4e5f60718" not in page.text


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
        ("default/9f2c41d8e0b70", (), ("/run", "/delete", "/archive")),
        ("default/beef000000000000", ("/archive", "/delete"), ("/run",)),
        ("default/5d5d5d5d00000002", ("/run", "/archive", "/delete"), ()),
        ("critical/c0c0c0c000000001", ("/delete",), ("/run", "/archive")),
    ],
)
async def test_task_offers_what_its_state_allows(client, path, present, absent):
    text = (await client.get(f"/monitoring/tasks/{path}")).text

    assert all(f'{path}{operation}"' in text for operation in present)
    assert not any(f'{path}{operation}"' in text for operation in absent)


@pytest.mark.parametrize("task_id", ["a/b", "a/run", "a b?c#d", "ü%20", "..", "<b>"])
async def test_task_with_an_awkward_id_can_be_seen_and_deleted(client, inspector, task_id):
    inspector.held.append(Task(id=task_id, queue="low", kind="odd", state=TaskState.RETRY))
    listing = (await client.get("/monitoring/queues/low?state=retry")).text

    action = re.search(r'action="([^"]+/delete)"', listing)[1]
    shown = await client.get(action.removesuffix("/delete"))
    deleted = await client.post(action)

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
