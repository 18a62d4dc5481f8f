"""The live feed over a real HTTP server: one poll for all, and an end in time."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import httpx
import pytest

from duly_monitor import live
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
            running = group.create_task(serve(app, listener, stop, app.state.feed.close))
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
        await inspector.pause("critical")
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

    assert following == [": still here", ": still here"]


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


async def test_an_outage_is_shown_and_ends_by_itself(build, inspector, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/queues") as response,
    ):
        stream = events(response)
        await first(stream)
        inspector.down = True
        await first(stream, lambda event: "The broker does not answer" in event)
        inspector.down = False
        await first(stream, lambda event: 'id="queue-default"' in event)


async def test_a_defect_in_one_reading_does_not_end_the_feed(build, inspector, hurried):
    async with (
        serving(build()) as (client, _, _),
        client.stream("GET", "/monitoring/live/servers") as response,
    ):
        stream = events(response)
        await first(stream)
        inspector.servers = None
        broken = await first(stream, lambda event: "the log of the monitor" in event)
        del inspector.servers
        await first(stream, lambda event: 'id="server-1"' in event)

    assert "NoneType" not in broken


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
