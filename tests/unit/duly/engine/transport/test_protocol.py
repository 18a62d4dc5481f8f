import asyncio
import contextlib
import gc
import threading
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from redis import exceptions

from duly.engine.storage.store import Store
from duly.engine.transport.connection import Connection
from duly.engine.transport.errors import (
    ClusterDownError,
    ConnectionLostError,
    NotMasterError,
    NotReadyError,
    ReplyError,
    error_of,
)
from duly.engine.transport.protocol import shared
from duly.errors import BrokerDownError, BrokerError
from duly.runtime.settings import RedisSettings
from duly.testing.outage import Outage

IS_REPLICA = "You can't write against a read only replica."
ROLES = "(master -> replica?)"


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
        with pytest.raises(BrokerDownError, match=r"no reply within 0\.8 s"):
            await connection.command("PING")


@asynccontextmanager
async def full(server):
    """A server that takes no more clients."""
    with server.client() as admin:
        before = admin.config_get("maxclients")["maxclients"]
        admin.config_set("maxclients", admin.info("clients")["connected_clients"])
        try:
            yield
        finally:
            admin.config_set("maxclients", before)


@asynccontextmanager
async def busy(server):
    """A server that runs a script without end."""
    with server.client() as admin, server.client() as other:
        before = admin.config_get("lua-time-limit")["lua-time-limit"]
        admin.config_set("lua-time-limit", 1)
        running = asyncio.create_task(asyncio.to_thread(_loop_for_ever, other))
        try:
            async with asyncio.timeout(30):
                while not _is_busy(admin):
                    await asyncio.sleep(0.01)
            yield
        finally:
            admin.execute_command("SCRIPT KILL")
            await running
            admin.config_set("lua-time-limit", before)


def _loop_for_ever(client):
    with contextlib.suppress(exceptions.RedisError):
        client.eval("while true do end", 0)


def _is_busy(client):
    try:
        client.ping()
    except exceptions.RedisError as error:
        return "BUSY" in str(error)
    return False


@pytest.mark.parametrize("condition", [full, busy])
async def test_a_server_that_cannot_serve_now_is_waited_for(valkey_server, condition):
    settings = valkey_server.settings().model_copy(update={"timeout": timedelta(seconds=2)})
    async with Connection.open(settings) as connection:
        async with condition(valkey_server):
            for _ in range(3):
                with pytest.raises(BrokerDownError):
                    await connection.check()
        async with asyncio.timeout(30):
            while await _refused(connection):
                await asyncio.sleep(0.01)


async def _refused(connection):
    try:
        await connection.check()
    except BrokerDownError:
        return True
    return False


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (f"READONLY {IS_REPLICA}", NotMasterError),
        (
            f"ERR Error running script (call to f_1): @user_script: -READONLY {IS_REPLICA}",
            NotMasterError,
        ),
        (f"UNBLOCKED force unblock, instance state changed {ROLES}", NotMasterError),
        ("ERR max number of clients reached", NotReadyError),
        ("ERR max number of clients + cluster connections reached", NotReadyError),
        ("LOADING Redis is loading the dataset in memory", NotReadyError),
        ("MASTERDOWN Link with MASTER is down", NotReadyError),
        ("CLUSTERDOWN Hash slot not served", ClusterDownError),
        ("UNBLOCKED the stream key no longer exists", ReplyError),
        ("ERR unknown command 'NOSUCH'", ReplyError),
    ],
)
def test_a_reply_is_read_as_what_has_to_be_done_about_it(message, kind):
    assert type(error_of(message)) is kind
    assert str(error_of(message)) == message


def test_a_redirection_says_where():
    moved, ask = error_of("MOVED 3999 ::1:6381"), error_of("ASK 3999 :6382")
    assert (moved.slot, moved.host, moved.port) == (3999, "::1", 6381)
    assert (ask.slot, ask.host, ask.port) == (3999, "", 6382)


async def test_callers_of_a_server_that_hangs_fail_together(valkey_server, stopwatch):
    """They share one attempt to connect; one after the other they would wait for minutes."""
    timeout = timedelta(seconds=1)
    settings = RedisSettings(
        port=valkey_server.port,
        username="default",
        password="x",
        timeout=timeout,
    )
    valkey_server.pause()
    try:
        async with Connection.open(settings) as connection:
            begin = stopwatch()
            calls = [asyncio.create_task(connection.command("PING")) for _ in range(20)]
            await asyncio.wait(calls)
            assert stopwatch() - begin < 3 * timeout.total_seconds()
            assert {type(call.exception()) for call in calls} == {BrokerDownError}
    finally:
        valkey_server.resume()


async def test_a_read_on_a_host_that_is_gone_ends_within_five_seconds(broker_settings, stopwatch):
    settings = broker_settings.model_copy(update={"timeout": timedelta(seconds=2)})
    async with Outage.before(settings) as outage, Store.open(outage.settings) as store:
        await store.register("default")
        reader = store.reader("default")
        assert await reader.read(server="alice", count=1, block_ms=1) == []
        outage.black_hole()
        begin = stopwatch()
        with pytest.raises(BrokerDownError):
            await reader.read(server="alice", count=1, block_ms=5_000)
        assert stopwatch() - begin < 5
        outage.heal()
        await reader.close()


async def test_a_caller_told_to_end_with_the_attempt_ends():
    """As when a loop ends, which cancels everything at once."""
    attempt = asyncio.ensure_future(asyncio.Event().wait())
    caller = asyncio.ensure_future(shared(attempt))
    await asyncio.sleep(0)
    attempt.cancel()
    caller.cancel()
    await asyncio.wait([caller], timeout=60)

    assert caller.cancelled()


async def test_a_caller_learns_that_the_connection_was_closed_meanwhile():
    attempt = asyncio.ensure_future(asyncio.Event().wait())
    caller = asyncio.ensure_future(shared(attempt))
    await asyncio.sleep(0)
    attempt.cancel()

    with pytest.raises(ConnectionLostError):
        await caller
