"""The pages of what a queue holds beside its tasks."""

import re
from html import unescape

import pytest
from msgspec.structs import replace

from duly.task import TaskState

QUEUE = "/monitoring/queues/critical"
HOSTILE = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"
GROUP = f"{QUEUE}/group?kind=mention&group={HOSTILE}"


def more_mentions(inspector, count):
    one = next(task for task in inspector.held if task.state is TaskState.AGGREGATING)
    inspector.held += [replace(one, id=f"ada1{index:012x}") for index in range(count)]


@pytest.mark.parametrize("page", ["groups", "joins", "locks"])
async def test_the_page_of_a_queue_leads_to_what_else_it_holds(client, page):
    text = (await client.get(QUEUE)).text

    assert f'href="{QUEUE}/{page}"' in text
    assert 'aria-current="page"' in (await client.get(f"{QUEUE}/{page}")).text
    assert (await client.get(f"/monitoring/queues/none/{page}")).status_code == 404


async def test_groups_say_how_large_they_are_and_lead_to_their_tasks(client, inspector):
    more_mentions(inspector, 4)

    text = (await client.get(f"{QUEUE}/groups")).text
    link = unescape(re.search(r'href="([^"]+/group\?[^"]+)"', text)[1])
    group = (await client.get(link)).text

    assert '<td class="num" data-label="Tasks">5</td>' in text
    assert "2 times begun, not yet succeeded" in text
    assert link == GROUP.replace("(", "%28").replace(")", "%29")
    assert "ada0000000000001" in group
    assert "&lt;img src=x" in group


async def test_a_group_has_pages(client, inspector):
    more_mentions(inspector, 9)

    first = (await client.get(f"{GROUP}&limit=6")).text
    following = unescape(re.search(r'href="(\?[^"]+)">Next page', first)[1])
    second = (await client.get(f"{QUEUE}/group{following}")).text
    ids = re.findall(r'class="id">(ada[0-9a-f]+)', first + second)

    assert len(set(ids)) == len(ids) == 10
    assert "7\N{EN DASH}10 of 10" in second
    assert "Next page" not in second


async def test_all_tasks_of_a_group_are_asked_about_before_they_are_run(client, inspector):
    more_mentions(inspector, 2)

    group = (await client.get(GROUP)).text
    ask = unescape(re.search(r'href="([^"]+)">Run now all that match', group)[1])
    question = (await client.get(ask)).text

    assert re.search(r"<h1>\w+ 3 tasks\?</h1>", question)
    assert not [
        task for task in inspector.held if task.kind == "mention" and task.state != "aggregating"
    ]


async def test_a_group_that_has_been_merged_is_not_there(client):
    assert (await client.get(f"{QUEUE}/group?kind=mention&group=gone")).status_code == 404
    assert (await client.get(f"{QUEUE}/group")).status_code == 400
    assert (await client.get(f"{GROUP}&cursor=x")).status_code == 400


async def test_a_join_says_who_is_awaited_and_is_cancelled_with_a_reason(client, inspector):
    text = (await client.get("/monitoring/queues/default/joins")).text
    join = re.search(r'name="join" value="([^"]+)"', text)[1]

    answer = await client.post(
        "/monitoring/queues/default/joins/cancel", data={"join": join, "reason": "wrong month"}
    )
    after = (await client.get(answer.headers["Location"])).text

    assert "38 of 40 succeeded" in text
    assert ": 3, 17." in text
    assert "Join cancelled" in after
    assert "No joins." in after
    record = inspector.audited[-1]
    assert (record.action, record.result, record.reason) == ("cancel_join", "done", "wrong month")
    assert record.target == f"name=default join={join}"


async def test_a_strangers_join_is_text_and_can_be_cancelled(client, inspector):
    text = (await client.get(f"{QUEUE}/joins")).text
    join = unescape(re.search(r'name="join" value="([^"]+)"', text)[1])

    answer = await client.post(f"{QUEUE}/joins/cancel", data={"join": join})
    again = await client.post(f"{QUEUE}/joins/cancel", data={"join": join})

    assert "not readable" in text
    assert (answer.status_code, again.status_code) == (303, 404)


async def test_who_only_looks_cannot_cancel_a_join(connect, inspector):
    async with connect(read_only=True) as client:
        text = (await client.get("/monitoring/queues/default/joins")).text
        answer = await client.post("/monitoring/queues/default/joins/cancel", data={"join": "x"})

    assert '<form method="post" action="/monitoring/queues/default/joins/cancel"' not in text
    assert answer.status_code in (403, 405)
    assert len(inspector.waiting_joins) == 2


async def test_locks_name_who_holds_them(client):
    text = (await client.get("/monitoring/queues/default/locks")).text

    assert 'href="/monitoring/tasks/default/9f2c41d8e0b70"' in text
    assert "2 locks" in text
    assert "/tasks/default/%3Cimg" in text
    assert "No locks." in (await client.get(f"{QUEUE}/locks")).text
