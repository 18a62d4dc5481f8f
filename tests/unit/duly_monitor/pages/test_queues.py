"""The overview and the page of one queue."""

import re
from datetime import timedelta

import pytest
from msgspec.structs import replace

from duly.engine.reports import MinuteReport


async def test_overview_names_every_queue_worst_first(client):
    text = (await client.get("/monitoring/")).text

    places = [text.index(f'id="queue-{name}"') for name in ("default", "low", "critical")]
    assert places == sorted(places)
    assert "behind, 1,278 tasks waiting, the oldest for 4 min 12 s" in text
    assert "paused for 26 min" in text


async def test_overview_has_the_chart_as_a_table(client):
    text = (await client.get("/monitoring/")).text

    assert len(re.findall(r"<tr data-at=\"\d+\">", text)) == 60


@pytest.mark.parametrize(
    ("processed", "shown"),
    [
        pytest.param({1: 5, 0: 2}, "5", id="a-running-minute-is-left-out"),
        pytest.param({0: 2}, "2", id="unless-it-is-the-first"),
        pytest.param({}, "0", id="or-there-is-nothing"),
    ],
)
async def test_chart_ends_with_a_whole_minute(client, inspector, processed, shown):
    async def minutes(name, *, count):
        return [
            MinuteReport(
                at=inspector.at - timedelta(minutes=ago),
                processed=processed.get(ago, 0) if name == "low" else 0,
                failed=0,
            )
            for ago in reversed(range(count))
        ]

    inspector.minutes = minutes

    text = (await client.get("/monitoring/")).text

    rows = re.findall(r'<tr data-at="\d+"><td>\S+</td><td class="num">(\d+)</td>', text)
    assert len(rows) == 60
    assert rows[-1] == shown


async def test_queue_page_has_counts_and_pages(client):
    first = (await client.get("/monitoring/queues/default?state=waiting&limit=30")).text
    following = re.search(r'href="(\?[^"]+)">Next page', first)[1].replace("&amp;", "&")
    second = (await client.get(f"/monitoring/queues/default{following}")).text

    assert "beef000000000000" in first
    assert "beef00000000001e" not in first
    assert "beef00000000001e" in second
    assert "Next page" not in second


async def test_pause_and_resume_by_form(client, inspector):
    await client.post("/monitoring/queues/default/pause")
    assert "default" in inspector.paused

    await client.post("/monitoring/queues/default/resume")
    assert "default" not in inspector.paused


async def test_pausing_a_queue_that_does_not_exist_is_a_404(client, inspector):
    assert (await client.post("/monitoring/queues/none/pause")).status_code == 404
    assert "none" not in inspector.paused


async def test_tasks_of_groups_have_a_tab_a_count_and_their_group(client):
    text = (await client.get("/monitoring/queues/critical")).text

    assert re.search(r'aria-current="page">aggregating <span class="number">1<', text)
    assert "<code>mention:&lt;img src=x" in text
    assert ">Run now<" in text
    assert ">Joined<" in text


@pytest.mark.parametrize("label", [7, {"a": 1}, [], [None], [["x"]], "text", None])
async def test_a_strangers_group_breaks_no_page(client, inspector, label):
    place = next(i for i, task in enumerate(inspector.held) if task.kind == "mention")
    inspector.held[place] = replace(inspector.held[place], labels={"group": label})

    response = await client.get("/monitoring/queues/critical?state=aggregating")

    assert response.status_code == 200
    assert "ada0000000000001" in response.text
