"""The page of one queue."""

import html
import re

import pytest
from msgspec.structs import replace

from duly.task import TaskState


async def test_queue_page_has_counts_and_pages(client):
    first = (await client.get("/monitoring/queues/default?state=waiting&limit=30")).text
    following = re.search(r'href="(\?[^"]+)">Next page', first)[1].replace("&amp;", "&")
    second = (await client.get(f"/monitoring/queues/default{following}")).text

    assert "beef000000000027" in first
    assert "beef000000000009" not in first
    assert "1\N{EN DASH}30 of 1,278" in first
    assert "beef000000000009" in second
    assert "31\N{EN DASH}40 of" in second
    assert "Next page" not in second


async def test_pause_and_resume_by_form(client, inspector):
    await client.post("/monitoring/queues/default/pause")
    assert "default" in inspector.paused

    await client.post("/monitoring/queues/default/resume")
    assert "default" not in inspector.paused


async def test_a_pause_says_why_and_leads_back_to_where_one_was(client, inspector):
    back = "/monitoring/queues/default?state=retry&order=newest"

    answer = await client.post(
        "/monitoring/queues/default/pause", data={"reason": "gateway <down>", "back": back}
    )
    page = (await client.get(answer.headers["Location"])).text

    assert answer.headers["Location"] == f"{back}&done=pause"
    assert "“gateway &lt;down&gt;”" in page
    assert inspector.audited[-1].reason == "gateway <down>"


async def test_one_can_go_on_and_back_and_to_the_end_of_a_list(client):
    async def page(address):
        text = (await client.get(f"/monitoring/queues/default{address}")).text
        found = re.findall(r'href="([^"]+)">(First|Previous|Next|Last) page', text)
        links = {name: link.replace("&amp;", "&") for link, name in found}
        return re.findall(r"beef[0-9a-f]{12}(?=</code>)", text), links

    start = "?state=waiting&limit=10&order=newest"
    first, links = await page(start)
    second, links = await page(links["Next"])
    before, _ = await page(links["Previous"])

    assert first == [f"beef{index:012x}" for index in range(10)]
    assert second == [f"beef{index:012x}" for index in range(10, 20)]
    assert before == first
    assert set(links) == {"First", "Previous", "Next", "Last"}


@pytest.mark.parametrize(
    ("state", "first"), [("waiting", "beef000000000027"), ("archived", "a1b2c3d4e5f60718")]
)
async def test_what_waits_longest_comes_first_what_ended_last_too(client, state, first):
    text = (await client.get(f"/monitoring/queues/default?state={state}")).text

    assert re.search(r'<code class="id">([^<]+)', text)[1] == first


async def test_a_list_has_columns_of_the_payload_without_its_secrets(client):
    address = "/monitoring/queues/default?state=archived&columns=lines,access_token,nowhere"

    text = (await client.get(address)).text

    assert "[{&#34;sku&#34;: &#34;A-1&#34;, &#34;quantity&#34;: 2}]" in text
    assert "s3cr3t-value" not in text
    assert 'scope="col">nowhere<' in text


async def test_a_filter_says_how_much_it_looked_at(client):
    text = (await client.get("/monitoring/queues/default?state=archived&q=kind:import_feed")).text

    assert "1 task found, 2 of 2 looked at" in text
    assert "0f1e2d3c4b5a6978" in text
    assert "a1b2c3d4e5f60718" not in text
    assert "q=queue%3Adefault%20state%3Aarchived%20kind%3Aimport_feed" in text


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("id:a1b2c3d4e5f60718", "1 task found"),
        ("id:none", "No archived task matches"),
        ("id:a1b2c3d4e5f60718 kind:import_feed", "No archived task matches"),
        ("state:archived,completed queue:default,low", "2 tasks found"),
        ("state:completed", "says archived already"),
        ("queue:critical", "says default already"),
    ],
)
async def test_a_filter_finds_no_more_than_its_list_holds(client, words, found):
    asked = {"state": "archived", "q": words}

    answer = await client.get("/monitoring/queues/default", params=asked)

    assert found in answer.text
    assert (answer.status_code == 400) == ("already" in found)
    if links := re.findall(r'href="/monitoring(/bulk\?operation=delete[^"]*)"', answer.text):
        question = await client.get(f"/monitoring{html.unescape(links[0])}")
        assert found.replace(" found", "?") in question.text


async def test_a_filter_that_is_wrong_names_the_word(client):
    answer = await client.get("/monitoring/queues/default?q=stat:x")

    assert answer.status_code == 400
    assert "there is no key stat" in answer.text


async def test_running_tasks_have_their_worker_progress_and_a_mark_when_stuck(client, inspector):
    stuck = next(task for task in inspector.held if task.state is TaskState.ACTIVE)
    inspector.held.append(replace(stuck, id="9f2c41d8e0b71"))

    text = (await client.get("/monitoring/queues/default?state=active")).text

    assert text.count(">stuck</span>") == 1
    assert "rows 400 of 1000" in text
    assert ">1 of 3<" in text


async def test_a_queue_is_removed_by_typing_its_name(client, inspector):
    question = (await client.get("/monitoring/queues/low/remove")).text
    refused = await client.post("/monitoring/queues/low/remove", data={"name": "lo"})
    done = await client.post("/monitoring/queues/low/remove", data={"name": "low"})
    served = await client.post("/monitoring/queues/default/remove", data={"name": "default"})

    assert "2 tasks are deleted with it" in question
    assert (refused.status_code, done.status_code, served.status_code) == (400, 303, 409)
    assert "stop them first" in served.text
    assert [record.count for record in inspector.audited if record.result == "done"] == [2]


async def test_pausing_a_queue_that_does_not_exist_is_a_404(client, inspector):
    assert (await client.post("/monitoring/queues/none/pause")).status_code == 404
    assert "none" not in inspector.paused


async def test_tasks_of_groups_have_a_tab_a_count_and_their_group(client):
    text = (await client.get("/monitoring/queues/critical")).text

    assert re.search(r'aria-current="page">aggregating <span class="number">1<', text)
    assert "<code>mention:&lt;img src=x" in text
    assert ">Run now selected…<" in text
    assert ">Joined <" in text


@pytest.mark.parametrize("label", [7, {"a": 1}, [], [None], [["x"]], "text", None])
async def test_a_strangers_group_breaks_no_page(client, inspector, label):
    place = next(i for i, task in enumerate(inspector.held) if task.kind == "mention")
    inspector.held[place] = replace(inspector.held[place], labels={"group": label})

    response = await client.get("/monitoring/queues/critical?state=aggregating")

    assert response.status_code == 200
    assert "ada0000000000001" in response.text


async def test_a_queue_without_a_named_state_is_read_once(client, inspector):
    read, asked = inspector.queues.get, []

    async def get(name):
        asked.append(name)
        return await read(name)

    inspector.queues.get = get
    page = await client.get("/monitoring/queues/default")

    assert 'data-page="/monitoring/queues/default?state=archived"' in page.text
    assert asked == ["default"]
