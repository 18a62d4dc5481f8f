"""The pages as a browser without JavaScript sees them."""

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from fake_inspector import XSS, archived

from duly.engine.reports import MinuteReport
from duly.task import Attempt, AttemptOutcome, Task, TaskState

PAGES = [
    "/monitoring",
    "/monitoring/",
    "/monitoring/queues/default",
    "/monitoring/queues/low",
    "/monitoring/failures",
    "/monitoring/tasks/default/0f1e2d3c4b5a6978",
    "/monitoring/tasks/critical/c0c0c0c000000001",
    "/monitoring/tasks/low/1764041400000-0",
    "/monitoring/schedules",
    "/monitoring/servers",
    *(f"/monitoring/queues/default?state={state.value}" for state in TaskState),
]


class Inline(HTMLParser):
    """Finds code and styles that a strict policy would block."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        for name, value in names.items():
            if name == "style" or name.startswith("on") or "javascript:" in (value or ""):
                self.found.append(f"{tag} {name}")


@pytest.mark.parametrize("path", PAGES)
async def test_page_is_html_without_inline_code(client, path):
    answer = await client.get(path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert Inline(answer.text).found == []
    assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)


@pytest.mark.parametrize("path", PAGES)
async def test_page_escapes_what_comes_from_the_broker(client, path):
    assert XSS not in (await client.get(path)).text


@pytest.mark.parametrize("prefix", ["", "/ops/duly"])
async def test_every_link_and_form_stays_below_the_prefix(connect, prefix):
    async with connect(prefix=prefix) as client:
        seen, waiting = set(), {f"{prefix}/"}
        while waiting:
            path = waiting.pop()
            seen.add(path)
            answer = await client.get(path)
            assert answer.status_code == 200, path
            links = set(re.findall(r"<a [^>]*href=\"([^\"#?]+)", answer.text))
            files = set(re.findall(r"(?:src|href)=\"(/[^\"?#]+)\?v=", answer.text))
            actions = set(re.findall(r"action=\"([^\"]+)", answer.text))
            assert all(link.startswith(f"{prefix}/") for link in links | files | actions)
            waiting |= {
                link
                for link in (links | files) - seen
                if "tick-" not in link and "41d8e0b71" not in link
            }

    assert {f"{prefix}/failures", f"{prefix}/servers", f"{prefix}/static/app.css"} <= seen


async def test_root_leads_to_the_prefix(client):
    answer = await client.get("/")

    assert (answer.status_code, answer.headers["Location"]) == (307, "/monitoring/")


async def test_overview_names_every_queue_worst_first(client):
    text = (await client.get("/monitoring/")).text

    places = [text.index(f'id="queue-{name}"') for name in ("default", "low", "critical")]
    assert places == sorted(places)
    assert "behind, 1,278 tasks waiting, the oldest for 4 min 12 s" in text
    assert "paused for 26 min" in text


async def test_overview_shows_the_environment(connect):
    async with connect(environment="production <b>") as client:
        text = (await client.get("/monitoring/")).text

    assert 'class="badge tone-bad" title="environment">production &lt;b&gt;<' in text


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


async def test_an_overdue_schedule_asks_for_its_scheduler(client, inspector):
    assert "does a scheduler run?" not in (await client.get("/monitoring/schedules")).text

    real = await inspector.schedules()
    late = replace(real[0], next_slot=inspector.at - timedelta(minutes=4))

    async def schedules():
        return [late]

    inspector.schedules = schedules
    assert "does a scheduler run?" in (await client.get("/monitoring/schedules")).text


async def test_queue_page_has_counts_and_pages(client):
    first = (await client.get("/monitoring/queues/default?state=waiting&limit=30")).text
    following = re.search(r'href="(\?[^"]+)">Next page', first)[1].replace("&amp;", "&")
    second = (await client.get(f"/monitoring/queues/default{following}")).text

    assert "beef000000000000" in first
    assert "beef00000000001e" not in first
    assert "beef00000000001e" in second
    assert "Next page" not in second


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1e3",
        "state=nope",
        "state=",
        "cursor=%00",
        "cursor=" + "1" * 513,
        "limit=99999999999999999999",
    ],
)
@pytest.mark.parametrize(
    "path", ["/monitoring/queues/default", "/monitoring/api/v1/queues/default/tasks"]
)
async def test_parameters_out_of_bounds_are_named(client, path, query):
    answer = await client.get(f"{path}?{query}")

    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring/nope",
        "/monitoring/queues/none",
        "/monitoring/queues/..%2f..",
        "/monitoring/queues/" + "q" * 65,
        "/monitoring/tasks/default/none",
        "/monitoring/tasks/default/" + "t" * 257,
        "/monitoring/live/nope",
        "/monitoring/static/../app.py",
        "/monitoring/static/..%2fapp.py",
    ],
)
async def test_what_is_not_there_is_a_friendly_404(client, path):
    answer = await client.get(path)

    assert answer.status_code == 404
    assert "Nothing here" in answer.text


async def test_broker_down_is_a_page_that_says_so(client, inspector):
    inspector.down = True

    answer = await client.get("/monitoring/")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "The broker does not answer" in answer.text


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


async def test_a_message_can_not_be_put_into_an_address(client):
    text = (await client.get("/monitoring/failures?done=You+were+hacked")).text

    assert "hacked" not in text


async def test_operating_on_a_task_that_moved_on_says_where_it_is(client):
    answer = await client.post("/monitoring/tasks/default/9f2c41d8e0b70/delete")

    assert answer.status_code == 409
    assert "is active" in answer.text


async def test_pause_and_resume_by_form(client, inspector):
    await client.post("/monitoring/queues/default/pause")
    assert "default" in inspector.paused

    await client.post("/monitoring/queues/default/resume")
    assert "default" not in inspector.paused


async def test_pausing_a_queue_that_does_not_exist_is_a_404(client, inspector):
    assert (await client.post("/monitoring/queues/none/pause")).status_code == 404
    assert "none" not in inspector.paused


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


@pytest.mark.parametrize(
    "path", ["/monitoring/failures", "/monitoring/tasks/low/evil", "/monitoring/api/v1/tasks/evil"]
)
async def test_lone_surrogates_and_control_characters_do_not_break_a_page(client, inspector, path):
    task = archived(
        "evil", "k\ud800", inspector.at, "E: \ud800\x00\x1b[31m", attempts=1, queue="low"
    )
    inspector.held.append(task)

    assert (await client.get(path)).status_code == 200


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
