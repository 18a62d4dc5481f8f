"""The live feed over a real HTTP server: one poll for all, and an end in time."""

import asyncio
import itertools
import json
import re
import resource
import socket
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from structlog.testing import capture_logs

from duly_monitor import live
from duly_monitor import serving as web
from duly_monitor.live import Feed
from duly_monitor.pages.queues import QueuePages
from duly_monitor.serving import listen, serve
from duly_monitor.views import Followed, View

ASKED = Request({"type": "http", "path": "/", "headers": [], "query_string": b""})
FAST = timedelta(milliseconds=20)


@pytest.fixture
def hurried(monkeypatch):
    """Poll and beat often."""
    original = Feed.__init__

    def quick(self, *args, **kwargs):
        original(self, *args, period=FAST, heartbeat=timedelta(milliseconds=300), **kwargs)

    monkeypatch.setattr(Feed, "__init__", quick)


@asynccontextmanager
async def serving(app):
    """Serve the app on a free port; yield a client and the event that stops it."""
    stop = asyncio.Event()
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        async with asyncio.TaskGroup() as group:
            feed = app.state.feed
            running = group.create_task(serve(app, listener, stop, feed.close, feed.unread))
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
            ) as client:
                try:
                    yield client, stop, running
                finally:
                    stop.set()


async def events(response):
    """Yield the data of each message, and comments as they are."""
    data = []
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif line.startswith(":"):
            yield line
        elif not line and data:
            yield "\n".join(data)
            data = []


async def first(stream, predicate=lambda _: True):
    async with asyncio.timeout(60):
        async for event in stream:
            if predicate(event):
                return event
    raise AssertionError("the stream ended")


async def told(stream, predicate=lambda _: True):
    """Return what the first fitting message says."""
    fits = lambda event: not event.startswith(":") and predicate(json.loads(event))  # noqa: E731
    return json.loads(await first(stream, fits))


def shown_by(text):
    """Return what a page says that it shows."""
    return re.search('data-seen="([0-9a-f]+)"', text)[1]


PAGES = [
    ("/", "queues?page=1"),
    ("/queues/low?state=archived", "queues/low?state=archived"),
    ("/failures", "failures"),
    ("/schedules", "schedules"),
    ("/servers", "servers"),
    ("/tasks/default/9f2c41d8e0b70", "tasks/default/9f2c41d8e0b70"),
]


@pytest.mark.parametrize(("page", "topic"), PAGES)
async def test_a_stream_begins_with_what_the_page_shows(build, hurried, page, topic):
    """And a page that shows it already is told nothing."""
    async with serving(build()) as (client, _, _):
        text = (await client.get(f"/monitoring{page}")).text
        assert f'data-live="/monitoring/live/{topic}"' in text
        async with client.stream("GET", f"/monitoring/live/{topic}") as response:
            news = await told(events(response))
        seen = httpx.QueryParams({live.SEEN: shown_by(text)})
        address = httpx.URL(f"/monitoring/live/{topic}").copy_merge_params(seen)
        async with client.stream("GET", address) as response:
            nothing = await told(events(response))

    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["X-Accel-Buffering"] == "no"
    for name, html in news["parts"].items():
        assert f' id="{name}"' in html[: html.index(">")]
        assert html[: html.index(">")] in text
    assert news["parts"]
    assert nothing == {"parts": {}}


async def test_only_what_has_changed_arrives(build, inspector, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues") as response,
    ):
        stream = events(response)
        before = await told(stream)
        await inspector.queues.pause("critical")
        after = await told(stream)

    assert len(before["parts"]) == 3 * 3 + 4
    assert {"queue-critical", "health-critical"} <= {*after["parts"]} <= {
        "queue-critical", "health-critical", "overall",
    }  # fmt: skip
    assert "state-paused" in after["parts"]["queue-critical"]
    assert "rows" not in after


async def test_rows_that_come_and_go_are_told_in_their_order(build, inspector, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues/default?state=archived") as response,
    ):
        stream = events(response)
        before = await told(stream)
        await inspector.tasks.delete("default", "0f1e2d3c4b5a6978")
        after = await told(stream, lambda news: "rows" in news)

    gone = "task-default-0f1e2d3c4b5a6978"
    assert after["rows"] == [name for name in before["rows"] if name != gone]
    assert not [name for name in after["parts"] if name.startswith("task-")]


async def test_a_task_that_is_gone_is_told(build, inspector, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/tasks/default/0f1e2d3c4b5a6978") as response,
    ):
        stream = events(response)
        await told(stream)
        await inspector.tasks.delete("default", "0f1e2d3c4b5a6978")
        after = await told(stream)

    assert "0f1e2d3c4b5a6978" in after["problem"]


async def test_a_reader_that_comes_back_gets_what_it_has_missed(build, inspector, hurried):
    # The page is followed all the while: one that nobody follows is forgotten.
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues") as other,
    ):
        stream = events(other)
        await told(stream)
        async with client.stream("GET", "/monitoring/live/queues") as response:
            lines = [line async for line in until_data(response)]
        version = next(line for line in lines if line.startswith("id: ")).removeprefix("id: ")
        await inspector.queues.pause("critical")
        await told(stream)
        again = f"/monitoring/live/queues?{live.SEEN}={version}"
        async with client.stream("GET", again) as response:
            missed = await told(events(response))

    assert "queue-critical" in missed["parts"]
    assert "queue-low" not in missed["parts"]


async def test_a_page_that_is_newer_than_what_was_followed_is_not_told_the_old(
    build, inspector, until
):
    """Within the second for which the feed remembers a page that somebody has just left."""
    app = build()
    async with serving(app) as (client, _, _):
        async with client.stream("GET", "/monitoring/live/queues?page=1") as response:
            await told(events(response))
        await until(lambda: app.state.feed.clients == 0)
        await inspector.queues.pause("critical")
        seen = shown_by((await client.get("/monitoring/")).text)
        again = f"/monitoring/live/queues?page=1&{live.SEEN}={seen}"
        async with client.stream("GET", again) as response:
            news = await told(events(response))

    assert news == {"parts": {}}


async def until_data(response):
    """Yield the lines of a stream up to the first data."""
    async for line in response.aiter_lines():
        yield line
        if line.startswith("data:"):
            return


async def test_nothing_is_sent_while_nothing_changes_but_heartbeats(build, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues") as response,
    ):
        stream = events(response)
        await first(stream)
        following = [await first(stream) for _ in range(2)]

    assert following == [": keep-alive", ": keep-alive"]


@pytest.mark.parametrize("topic", ["nope", "queues/no%20name", "queues/low?state=nope"])
async def test_what_is_no_page_cannot_be_followed(build, topic):
    async with serving(build()) as (client, _, _):
        answer = await client.get(f"/monitoring/live/{topic}")

    assert answer.status_code in {400, 404}


async def test_only_so_many_different_pages_are_followed(build, monkeypatch):
    monkeypatch.setattr(live, "MAX_VIEWS", 1)
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues") as response,
    ):
        await first(events(response))
        async with client.stream("GET", "/monitoring/live/queues") as same:
            await first(events(same))
        assert (await client.get("/monitoring/live/servers")).status_code == 503


@pytest.mark.fault("monitor")
async def test_many_pages_cost_one_poll(build, inspector, hurried, until):
    app = build()
    async with serving(app) as (client, _, _), AsyncExitStack() as stack:
        streams = []
        for _ in range(20):
            response = await stack.enter_async_context(
                client.stream("GET", "/monitoring/live/servers")
            )
            streams.append(events(response))
            await first(streams[-1])
        polls, calls = app.state.feed.polls, inspector.calls
        await until(lambda: app.state.feed.polls >= polls + 10)

    assert inspector.calls - calls <= app.state.feed.polls - polls + 1


@pytest.mark.fault("monitor")
async def test_nobody_listening_costs_nothing(build, inspector, hurried, until):
    app = build()
    async with serving(app) as (client, _, _):
        async with client.stream("GET", "/monitoring/live/queues") as response:
            await first(events(response))
        await until(lambda: app.state.feed.clients == 0)
        await until(lambda: not app.state.feed.polling)
        calls = inspector.calls
        await client.get("/livez")

    assert inspector.calls == calls


@pytest.mark.fault("monitor")
async def test_an_outage_is_shown_and_ends_by_itself(build, inspector, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues") as response,
    ):
        stream = events(response)
        await first(stream)
        inspector.down = True
        await told(stream, lambda news: "Broker unreachable" in news.get("problem", ""))
        inspector.down = False
        assert await told(stream) == {"parts": {}, "problem": ""}


@pytest.mark.fault("monitor")
async def test_a_defect_in_one_reading_does_not_end_the_feed(build, inspector, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/servers") as response,
    ):
        stream = events(response)
        await first(stream)
        working, inspector.servers.list = inspector.servers.list, None
        broken = await told(stream)
        inspector.servers.list = working
        await told(stream, lambda news: news.get("problem") == "")

    assert "Update failed" in broken["problem"]
    assert "NoneType" not in broken["problem"]


@pytest.mark.fault("monitor")
async def test_a_reading_that_waited_in_vain_is_tried_again_at_once():
    feed, calls = Feed(broken=str, period=FAST), []

    async def read():
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            async with asyncio.timeout(0.5):
                await asyncio.Event().wait()
        return View({"it": "is back"})

    stream = feed._stream(ASKED, Followed("queues", read))
    polling = asyncio.create_task(feed.run())
    try:
        async with asyncio.timeout(60):
            async for message in stream.body_iterator:
                if "is back" in message:
                    break
    finally:
        polling.cancel()

    assert calls[1] - calls[0] < 3, "ten times as long as the first took"


@pytest.mark.fault("monitor")
async def test_too_many_pages_are_told_to_reload(build):
    app = build()
    app.state.feed._max_clients = 1
    async with (
        serving(app) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues") as response,
    ):
        stream = events(response)
        await first(stream)
        refused = await client.get("/monitoring/live/queues")

    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "30"


async def test_stop_ends_open_streams_within_seconds(build, stopwatch):
    async with serving(build()) as (client, stop, running):
        async with client.stream("GET", "/monitoring/live/queues") as response:
            stream = events(response)
            await first(stream)
            told = stopwatch()
            stop.set()
            async with asyncio.timeout(60):
                assert [event async for event in stream] == []
            assert stopwatch() - told < 5
        told = stopwatch()
        async with asyncio.timeout(60):
            await running
        assert stopwatch() - told < 5


async def test_text_with_line_ends_stays_one_message():
    text = live._event({"parts": {"a": "a\r\nb\nid: 9\rc\ud800"}}, "x.3")

    assert text == 'id: x.3\ndata: {"parts":{"a":"a\\r\\nb\\nid: 9\\rc?"}}\n\n'


async def nothing():
    return View({})


async def test_a_stream_ends_with_the_session_of_its_reader(build, hurried, tmp_path):
    path = tmp_path / "password"
    path.write_text("first")
    app = build(access="basic", password_file=str(path))
    form, own = {"username": "duly", "password": "first"}, {"Sec-Fetch-Site": "same-origin"}
    async with serving(app) as (client, _, _):
        await client.post("/monitoring/login", data=form, headers=own)
        async with client.stream("GET", "/monitoring/live/queues") as response:
            stream = events(response)
            await first(stream)
            await first(stream, lambda line: line == ": keep-alive")
            path.write_text("second")
            async with asyncio.timeout(30):
                left = [line async for line in stream]

    assert len(left) <= 2, "what was on its way"


async def test_many_that_come_at_once_do_not_all_pass(build):
    app = build()
    feed = app.state.feed
    feed._max_clients = 3
    followed = Followed("queues", nothing)

    # Asked for, and not yet read by anybody.
    for _ in range(3):
        feed._stream(ASKED, followed)

    with pytest.raises(HTTPException, match="Too many"):
        feed._stream(ASKED, followed)


async def test_a_stream_that_nobody_reads_is_counted_no_more(build):
    feed = build().state.feed
    response = feed._stream(ASKED, Followed("queues", nothing))

    async def gone(*_):
        raise OSError("the browser has gone")

    with pytest.raises(ClientDisconnect):
        await response(ASKED.scope | {"asgi": {"spec_version": "2.4"}}, gone, gone)

    assert feed.clients == 0


def resident_bytes():
    """Return how much memory this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def silent(address, path):
    """Open a stream that nobody will read; return its socket."""
    unread = socket.socket()
    unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    unread.connect(address)
    unread.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return unread


@pytest.mark.fault("unread streams")
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
async def test_streams_that_nobody_reads_cost_little_and_are_dropped(
    build, hurried, until, monkeypatch
):
    numbers = itertools.count()

    async def large(_self, _number):
        return View({"large": f"<p>{next(numbers)}</p>" + "x" * 20_000})

    monkeypatch.setattr(web, "UNREAD_SECONDS", 3)
    monkeypatch.setattr(QueuePages, "_view", large)
    app = build()
    async with serving(app) as (client, _, _), AsyncExitStack() as stack:
        logs = stack.enter_context(capture_logs())
        address = client.base_url.host, client.base_url.port
        readers = []
        for _ in range(5):
            stream = client.stream("GET", "/monitoring/live/queues")
            readers.append(events(await stack.enter_async_context(stream)))
        unread = [
            stack.enter_context(closing(silent(address, "/monitoring/live/queues")))
            for _ in range(live.MAX_CLIENTS - len(readers))
        ]
        await until(lambda: app.state.feed.clients == live.MAX_CLIENTS)
        before, polls = resident_bytes(), app.state.feed.polls

        while app.state.feed.clients > len(readers):
            for reader in readers:
                await first(reader)
        after, rounds = resident_bytes(), app.state.feed.polls - polls
        answer = await client.get("/metrics")
        async with client.stream("GET", "/monitoring/live/servers") as response:
            await first(events(response))

    assert f"duly_monitor_unread_connections_total {len(unread)}.0" in answer.text
    dropped = [
        line for line in logs if line["event"] == "Connection dropped, its client reads nothing"
    ]
    assert len(dropped) == len(unread) == live.MAX_CLIENTS - len(readers)
    # Kept for each of them, it would be four megabytes a round.
    assert after - before < 64 * 2**20, f"{(after - before) >> 20} MiB in {rounds} rounds"
