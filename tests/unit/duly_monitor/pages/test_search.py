"""The page of search."""

import dataclasses
import re

import pytest
from msgspec.structs import replace


@pytest.mark.parametrize("words", ["a1b2c3d4e5f60718", "id:a1b2c3d4e5f60718"])
async def test_an_id_leads_to_its_task(client, words):
    answer = await client.get("/monitoring/search", params={"q": words})

    assert answer.headers["Location"] == "/monitoring/tasks/default/a1b2c3d4e5f60718"


async def test_an_id_that_nothing_has_is_said(client):
    text = (await client.get("/monitoring/search?q=id:a1b2")).text

    assert "No queue holds a task with the id a1b2" in text


@pytest.mark.parametrize("more", ["state:retry", "queue:low", "kind:other", "since:1m"])
async def test_an_id_that_the_other_words_do_not_find_is_said(client, more):
    answer = await client.get("/monitoring/search", params={"q": f"id:a1b2c3d4e5f60718 {more}"})

    assert answer.status_code == 200
    assert "with the id a1b2c3d4e5f60718 that the other words find" in answer.text


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("a1b2c3", ["a1b2c3d4e5f60718"]),
        ("kind:import_feed", ["0f1e2d3c4b5a6978"]),
        ('error:"took longer"', ["77aa88bb99cc00dd"]),
        ("state:retry,scheduled queue:default", ["5d5d5d5d00000001", "5d5d5d5d00000002"]),
        ("args.customer:12", ["5d5d5d5d00000002"]),
        ("state:archived since:1h", ["a1b2c3d4e5f60718", "0f1e2d3c4b5a6978"]),
        ("state:archived until:1h", ["77aa88bb99cc00dd"]),
    ],
)
async def test_words_find_tasks(client, words, found):
    text = (await client.get("/monitoring/search", params={"q": words})).text

    assert re.findall(r'<code class="id">([^<]+)', text) == found
    assert re.search(r"All \d+ tasks looked at", text)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ('error:"login failed"', True),
        ('error:"password="', True),
        ('error:"password=h"', False),
        ("hunter2", False),
        ("args.password:hunter2", False),
        ("args.url:postgres://u:hunter2@db/shop", False),
        ('args.auth.x:"Bearer hunter2-hunter2"', False),
        ("args.note:plain error:failed", True),
    ],
)
async def test_nothing_is_found_by_what_is_masked(client, inspector, words, found):
    failed = next(task for task in inspector.held if task.state == "archived")
    attempt = dataclasses.replace(failed.history[0], error="login failed: password=hunter2")
    payload = {
        "password": "hunter2", "note": "plain", "auth": {"x": "Bearer hunter2-hunter2"},
        "url": "postgres://u:hunter2@db/shop",
    }  # fmt: skip
    secret = replace(failed, id="5ec2e7", payload=payload, history=(attempt,))
    inspector.held.append(secret)
    query = f"state:archived {words}"
    asked = {"q": query, "state": "archived", "operation": "run"}

    page = (await client.get("/monitoring/search", params=asked)).text
    listed = await client.get(f"/monitoring/queues/{secret.queue}", params=asked)
    answer = (await client.get("/monitoring/api/v1/search", params={"q": query})).json()
    question = (await client.get("/monitoring/bulk", params=asked)).text

    assert ('<code class="id">5ec2e7' in page) is found
    assert ('<code class="id">5ec2e7' in listed.text) is found
    assert ("5ec2e7" in {task["id"] for task in answer["tasks"]}) is found
    assert ("5ec2e7" in question.partition("<h2>")[2]) is found


async def test_a_bound_is_said_and_can_be_widened(client):
    text = (await client.get("/monitoring/search?q=kind:nothing&window=3")).text

    assert "Looked at 3 of" in text
    assert "there may be more" in text
    assert "window=15" in text


async def test_a_wrong_word_is_named_with_its_remedy(client):
    answer = await client.get("/monitoring/search?q=stat:archived")

    assert answer.status_code == 400
    assert "<code>stat:archived</code>: there is no key stat" in answer.text
    assert 'value="stat:archived"' in answer.text


async def test_without_words_the_page_explains_them(client):
    assert "Words of a search" in (await client.get("/monitoring/search")).text
