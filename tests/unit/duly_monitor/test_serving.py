"""The socket, and the end of serving."""

import asyncio

import pytest

from duly.errors import ConfigError
from duly_monitor.serving import Impatient, listen, serve


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_port_0_takes_a_free_one(host):
    with listen(host, 0) as listener:
        assert listener.getsockname()[1] > 0


def test_a_taken_port_is_named():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"async\.monitor\.port: port {port} on 127"):
            listen("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_named():
    with pytest.raises(ConfigError, match=r"monitor\.host: cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


async def test_serving_ends_once_told_to(build):
    app, stop = build(), asyncio.Event()
    stop.set()
    with listen("127.0.0.1", 0) as listener:
        async with asyncio.timeout(60):
            await serve(app, listener, stop, app.state.feed.close)


async def ended(reader):
    """Wait until the server has closed the connection."""
    async with asyncio.timeout(60):
        while await reader.read(65_536):
            pass


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: a\r\nX: ", id="half of the headers"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx", id="body"),
    ],
)
async def test_half_a_request_holds_no_connection(build, monkeypatch, part):
    monkeypatch.setattr(Impatient, "patience", 0.2)
    app, stop = build(), asyncio.Event()
    with listen("127.0.0.1", 0) as listener:
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app, listener, stop, app.state.feed.close))
            reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            writer.write(part)
            await ended(reader)
            writer.close()
            stop.set()


async def test_a_stream_is_not_cut_off(build, monkeypatch):
    monkeypatch.setattr(Impatient, "patience", 0.2)
    app, stop = build(), asyncio.Event()
    with listen("127.0.0.1", 0) as listener:
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app, listener, stop, app.state.feed.close))
            reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            writer.write(b"GET /monitoring/live/queues HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(60):
                await reader.readuntil(b"retry: 1000")
                others = [await asyncio.open_connection(*listener.getsockname()[:2])]
                await ended(others[0][0])  # its patience is over, and so would be ours
                assert not reader.at_eof()
            stop.set()
            await ended(reader)
            for each in (writer, others[0][1]):
                each.close()
