"""The socket, and the end of serving."""

import asyncio

import pytest

from duly.errors import ConfigError
from duly_monitor.serving import listen, serve


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
    with pytest.raises(ConfigError, match=r"monitor\.host: can not listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


async def test_serving_ends_once_told_to(build):
    app, stop = build(), asyncio.Event()
    stop.set()
    with listen("127.0.0.1", 0) as listener:
        async with asyncio.timeout(60):
            await serve(app, listener, stop, app.state.feed.close)
