"""The live feed over a real HTTP server: one poll for all, and an end in time."""

import asyncio
import itertools
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
from duly_monitor.serving import listen, serve

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


@pytest.mark.parametrize("topic", ["queues", "schedules", "servers"])
async def test_a_stream_begins_with_what_the_page_shows(build, topic):
    async with serving(build()) as (client, _, _):
        async with client.stream("GET", f"/monitoring/live/{topic}") as response:
            html = await first(events(response))

        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        assert html.strip() in (await client.get(f"/monitoring/{topic.replace('queues', '')}")).text


async def test_a_change_arrives(build, inspector, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues") as response,
    ):
        stream = events(response)
        before = await first(stream)
        await inspector.queues.pause("critical")
        after = await first(stream, lambda event: "<div" in event or "<table" in event)

    assert before.count("state-paused") == 1
    assert after.count("state-paused") == 2


async def test_nothing_is_sent_while_nothing_changes_but_heartbeats(build, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues") as response,
    ):
        stream = events(response)
        await first(stream)
        following = [await first(stream) for _ in range(2)]

    assert following == [": keep-alive", ": keep-alive"]


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
        await first(stream, lambda event: "Broker unreachable" in event)
        inspector.down = False
        await first(stream, lambda event: 'id="queue-default"' in event)


@pytest.mark.fault("monitor")
async def test_a_defect_in_one_reading_does_not_end_the_feed(build, inspector, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/servers") as response,
    ):
        stream = events(response)
        await first(stream)
        working, inspector.servers.list = inspector.servers.list, None
        broken = await first(stream, lambda event: "Update failed" in event)
        inspector.servers.list = working
        await first(stream, lambda event: 'id="server-1"' in event)

    assert "NoneType" not in broken


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
    assert live._event("a\r\nb\nid: 9\rc", 3) == "id: 3\ndata: a\ndata: b\ndata: id: 9c\n\n"


async def test_many_that_come_at_once_do_not_all_pass(build):
    app = build()
    feed = app.state.feed
    feed._max_clients = 3
    scope = {"type": "http", "path": "/", "headers": [], "path_params": {"topic": "queues"}}

    # Asked for, and not yet read by anybody.
    for _ in range(3):
        await feed.stream(Request(scope))

    with pytest.raises(HTTPException, match="Too many"):
        await feed.stream(Request(scope))


async def test_a_stream_that_nobody_reads_is_counted_no_more(build):
    feed = build().state.feed
    scope = {"type": "http", "path": "/", "headers": [], "path_params": {"topic": "queues"}}
    response = await feed.stream(Request(scope))

    async def gone(*_):
        raise OSError("the browser has gone")

    with pytest.raises(ClientDisconnect):
        await response(scope | {"asgi": {"spec_version": "2.4"}}, gone, gone)

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

    async def large():
        return f"<p>{next(numbers)}</p>" + "x" * 20_000

    monkeypatch.setattr(web, "UNREAD_SECONDS", 3)
    app = build()
    app.state.feed._topics["queues"].fragment = large
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
    told = [
        line for line in logs if line["event"] == "Connection dropped, its client reads nothing"
    ]
    assert len(told) == len(unread) == 195
    # Kept for each of them, it would be four megabytes a round.
    assert after - before < 64 * 2**20, f"{(after - before) >> 20} MiB in {rounds} rounds"
