"""Failures by their cause."""

import asyncio
import re
from datetime import timedelta

import pytest
from sample_tasks import archived

from duly.clock import to_unix_ms
from duly.engine.storage.reports import QueueReport
from duly_monitor.pages.failures import _tabs


async def test_a_noisy_kind_is_one_line_and_hides_no_other(client, inspector):
    for number in range(700):
        inspector.held.append(
            archived(
                f"noisy{number}",
                "sync",
                inspector.at - timedelta(minutes=number),
                f"ConnectionError: no host {number}",
                attempts=1,
            )
        )

    text = (await client.get("/monitoring/failures")).text

    counts = re.findall(r"<p class=\"count\"[^>]*><b>([^<]+)</b>", text)
    assert counts == ["700", "1", "1", "1", "1"]
    assert "704 failed tasks, 5 causes" in text
    assert "Retry these 700…" in text
    assert "unexpected &lt;img src=x onerror=alert(1)&gt; in line 7" in text


async def test_failures_without_any_is_kind(client, inspector):
    inspector.held.clear()

    assert "No failures." in (await client.get("/monitoring/failures")).text


async def test_failures_of_one_queue_are_those_only(client):
    text = (await client.get("/monitoring/failures?queue=low")).text

    assert "TimeoutError" in text
    assert "GatewayError" not in text
    assert "queue%3Alow%20state%3Aarchived%2Cquarantined%20cause%3A" in text


async def test_the_tasks_of_a_cause_can_be_listed_and_asked_about(client):
    text = (await client.get("/monitoring/failures")).text
    links = [
        link.replace("&amp;", "&")
        for link in re.findall(r'href="(/monitoring/(?:search|bulk)\?[^"]+)', text)
    ]
    first_search = next(link for link in links if "/search" in link)
    first_retry = next(link for link in links if link.endswith("operation=run"))

    found = (await client.get(first_search)).text
    question = (await client.get(first_retry)).text

    assert "1 task found." in found
    assert "Retry 1 task?" in question


def looked(inspector, before, last):
    instants = [inspector.at - timedelta(minutes=minutes) for minutes in (before, last)]
    return {"Cookie": "duly_looked=" + ".".join(str(to_unix_ms(at)) for at in instants)}


@pytest.mark.parametrize(
    ("before", "last", "said"),
    [
        pytest.param(300, 60, "2 causes have failed since you looked", id="a-new-visit"),
        pytest.param(10, 5, "1 cause has failed since you looked", id="the-same-visit"),
        pytest.param(300, 1, "2 causes have failed since you looked", id="news-stay-for-the-visit"),
        pytest.param(2, 1, "Nothing new since you looked", id="nothing"),
    ],
)
async def test_what_failed_since_one_looked_is_marked(client, inspector, before, last, said):
    text = (await client.get("/monitoring/failures", headers=looked(inspector, before, last))).text

    assert said in text


async def test_a_first_look_marks_nothing_and_is_remembered(client, inspector):
    answer = await client.get("/monitoring/failures")

    assert "since you looked" not in answer.text
    cookie = answer.headers["Set-Cookie"]
    assert f"duly_looked=.{to_unix_ms(inspector.at)};" in cookie
    assert "HttpOnly" in cookie
    assert "Path=/monitoring/" in cookie


@pytest.mark.parametrize("cookie", ["x", ".", "9" * 400, "-1.-1", "١٢٣.٤"])
async def test_a_cookie_that_is_none_means_never(client, cookie):
    answer = await client.get(
        "/monitoring/failures", headers={"Cookie": f"duly_looked={cookie}".encode()}
    )

    assert answer.status_code == 200
    assert "since you looked" not in answer.text


async def test_who_looks_at_the_same_time_has_it_grouped_once(client, inspector, until):
    survey, surveyed, begun = inspector.failures.survey, [], asyncio.Event()

    async def slow(**asked):
        surveyed.append(asked)
        await begun.wait()
        return await survey(**asked)

    inspector.failures.survey = slow
    looking = [asyncio.create_task(client.get("/monitoring/failures")) for _ in range(3)]
    other = asyncio.create_task(client.get("/monitoring/failures?queue=low"))
    await until(lambda: len(surveyed) == 2)
    begun.set()
    answers = await asyncio.gather(*looking, other)

    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(surveyed) == 2


def test_of_many_queues_those_that_fail_most_have_tabs():
    reports = [QueueReport(name=f"queue-{number:02}", archived=number) for number in range(60)]

    tabs = [each.name for each in _tabs(reports, "queue-07")]

    assert tabs == ["queue-07", *(f"queue-{number}" for number in range(30, 60))]
    assert _tabs(reports[:2], "queue-00") == reports[1:2]
