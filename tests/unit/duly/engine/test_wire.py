import asyncio
import gc
import threading
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from duly.engine.connection import Connection
from duly.errors import BrokerDownError, BrokerError


@pytest.mark.parametrize("server", ["valkey_server", "cluster_server"])
async def test_several_errors_of_one_trip_leave_none_that_nobody_saw(server, request, caplog):
    broker = request.getfixturevalue(server)
    broker.flush()
    async with Connection.open(broker.settings()) as connection:
        await connection.command("SET", "a", "1")
        with pytest.raises(BrokerError, match="WRONGTYPE"):
            await connection.many([("LPUSH", "a", 1), ("LPUSH", "a", 2), ("GET", "a")])
        assert await connection.command("GET", "a") == b"1"
        gc.collect()

    assert caplog.records == []


@asynccontextmanager
async def connected_to_one_that_hangs(server, timeout):
    settings = server.settings().model_copy(update={"timeout": timeout})
    async with Connection.open(settings) as connection:
        await connection.command("PING")
        server.pause()
        try:
            yield connection
        finally:
            server.resume()


async def test_a_reply_is_waited_for_anew_when_the_whole_machine_had_stopped(valkey_server):
    timeout = timedelta(seconds=2)
    async with connected_to_one_that_hangs(valkey_server, timeout) as connection:
        asking = asyncio.create_task(connection.command("ECHO", "there"))
        await asyncio.sleep(0)
        threading.Event().wait(1.2 * timeout.total_seconds())  # the loop stands still
        # It goes on a little before the server does.
        asyncio.get_running_loop().call_later(0.02, valkey_server.resume)

        assert await asking == b"there"


async def test_a_reply_that_does_not_come_is_overdue(valkey_server):
    timeout = timedelta(milliseconds=800)
    async with connected_to_one_that_hangs(valkey_server, timeout) as connection:
        with pytest.raises(BrokerDownError, match=r"no answer within 0\.8 s"):
            await connection.command("PING")
