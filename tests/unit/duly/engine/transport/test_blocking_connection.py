"""Without a loop: the same errors, the same time-outs, and the same ways to another server."""

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta

import pytest

from duly.engine.transport.blocking_connection import BlockingConnection, BlockingEndpoints
from duly.engine.transport.slot_map import slot_of
from duly.engine.transport.turns import Begun, finished
from duly.errors import BrokerDownError, BrokerError, DulyError
from duly.runtime.settings import RedisSettings
from duly.testing.cluster import RedisCluster
from duly.testing.outage import Outage
from duly.testing.processes import free_port
from duly.testing.waiting import until, wait_until

pytestmark = pytest.mark.timeout(300)
SOON = timedelta(milliseconds=800)


class Direct:
    """A connection whose commands are plain calls."""

    def __init__(self, settings):
        self.endpoints = BlockingEndpoints(settings, self._moved)
        self.connection = BlockingConnection(settings, self.endpoints)

    def _moved(self):
        self.connection.leave()

    def __call__(self, *args):
        return finished(self.connection.command(*args))

    def script(self, text, *keys):
        return finished(self.connection.script("0" * 40, text, keys, ()))


@contextmanager
def connected(settings):
    direct = Direct(settings)
    try:
        yield direct
    finally:
        direct.connection.close()
        direct.endpoints.end()


def test_commands_scripts_and_several_at_once(every_broker):
    with connected(every_broker) as direct:
        assert direct("SET", "duly:{a}1", "1") == b"OK"
        assert direct.script("return redis.call('GET', KEYS[1])", "duly:{a}1") == b"1"
        many = [("SET", "duly:{a}2", "2"), ("GET", "duly:{a}1"), ("GET", "duly:{a}2")]
        assert finished(direct.connection.many(many)) == [b"OK", b"1", b"2"]
        with pytest.raises(BrokerError, match="WRONGTYPE"):
            finished(direct.connection.many([("LPUSH", "duly:{a}1", 1), ("GET", "duly:{a}2")]))
        assert direct("GET", "duly:{a}2") == b"2"
        assert finished(direct.connection.check()) is None


def test_a_unix_socket(own_server, tmp_path):
    path = str(tmp_path / "broker.sock")
    own_server.stop()
    own_server.arguments = (*own_server.arguments, "--unixsocket", path)
    own_server.start()
    with connected(RedisSettings(url=f"unix://{path}?db=1")) as direct:
        assert direct("SET", "a", "1") == b"OK"
        assert direct("SELECT", 0) == b"OK"
        assert direct("GET", "a") is None


def test_wrong_credentials_are_called_that(acl_server):
    settings = acl_server.settings().model_copy(update={"password": None, "username": "nobody"})
    with (
        connected(settings) as direct,
        pytest.raises(BrokerError, match="refused the credentials"),
    ):
        direct("PING")


def test_a_certificate_that_is_not_trusted_is_no_connection(tls_server):
    url = f"rediss://localhost:{tls_server.port}"
    with (
        connected(RedisSettings(url=url)) as direct,
        pytest.raises(BrokerDownError, match="certificate verify failed"),
    ):
        direct("PING")


def test_a_reply_that_does_not_come_is_overdue(own_server):
    with connected(own_server.settings().model_copy(update={"timeout": SOON})) as direct:
        direct("PING")
        own_server.pause()
        try:
            with pytest.raises(BrokerDownError, match=r"no reply within 0\.8 s") as caught:
                direct("PING")
            assert caught.value.timed_out
            with pytest.raises(BrokerDownError, match="within"):
                direct("PING")
        finally:
            own_server.resume()
        assert direct("ECHO", "mine") == b"mine"


def test_what_the_kernel_does_not_take_at_once_arrives_whole(broker_settings):
    large = b"0123456789abcdef" * 1_000_000
    with connected(broker_settings) as direct:
        command = direct.connection.command
        several = [Begun(command("SET", f"large-{number}", large)) for number in range(3)]

        assert [begun.result() for begun in several] == [b"OK"] * 3
        assert direct("GET", "large-2") == large


def test_a_server_that_reads_nothing_is_overdue(own_server):
    settings = own_server.settings().model_copy(update={"timeout": SOON})
    with connected(settings) as direct:
        direct("PING")
        own_server.pause()
        try:
            with pytest.raises(BrokerDownError) as caught:
                direct("SET", "large", b"x" * 64_000_000)
            assert caught.value.timed_out
        finally:
            own_server.resume()
        assert direct("ECHO", "mine") == b"mine"


def test_a_port_where_nothing_listens():
    with (
        connected(RedisSettings(port=free_port())) as direct,
        pytest.raises(BrokerDownError, match="refused"),
    ):
        direct("PING")


def test_a_name_that_nobody_resolves_in_time(monkeypatch):
    asked, answered = threading.Event(), threading.Event()
    resolve = socket.getaddrinfo

    def slowly(host, *args, flags=0, **options):
        if not flags & socket.AI_NUMERICHOST:
            asked.set()
            answered.wait(60)
        return resolve(host, *args, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    settings = RedisSettings(host="broker.invalid", timeout=timedelta(milliseconds=200))
    try:
        with (
            connected(settings) as direct,
            pytest.raises(BrokerDownError, match=r"no connection within 0\.2 s"),
        ):
            direct("PING")
        assert asked.is_set()
    finally:
        answered.set()


def test_a_connection_that_was_closed_while_idle_is_replaced_unnoticed(own_server):
    with connected(own_server.settings()) as direct:
        for _ in range(3):
            direct("SET", "a", "1")
            with own_server.client() as admin:
                admin.execute_command("CLIENT KILL TYPE normal SKIPME yes")
            threading.Event().wait(0.1)  # it counts as idle then
            assert direct("GET", "a") == b"1"


def test_a_server_that_restarts_is_found_again(own_server):
    with connected(own_server.settings()) as direct:
        direct("PING")
        own_server.kill9()
        with pytest.raises(BrokerDownError):
            direct("PING")
        own_server.start()

        assert direct("PING") == b"PONG"


async def test_replies_in_slices_are_put_together(broker_settings):
    async with Outage.before(broker_settings) as outage:
        outage.slice_bytes = 7
        text = "x" * 1000
        with connected(outage.settings) as direct:
            found = await asyncio.to_thread(direct.script, f"return '{text}'")
        assert found == text.encode()


async def test_slices_do_not_get_the_whole_time_each(broker_settings):
    settings = broker_settings.model_copy(update={"timeout": timedelta(seconds=1)})
    async with Outage.before(settings) as outage:
        with connected(outage.settings) as direct:
            await asyncio.to_thread(direct, "PING")
            outage.slice_bytes, outage.latency_seconds = 10, 0.05
            with pytest.raises(BrokerDownError, match="no reply within 1 s"):
                await asyncio.to_thread(direct.script, f"return '{'x' * 10_000}'")
            outage.heal()
            assert await asyncio.to_thread(direct, "PING") == b"PONG"


async def test_what_is_no_reply_closes_the_connection():
    answers = iter([b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n+unasked\r\n", b"+PONG\r\n"])

    async def serve(reader, writer):
        await reader.read(100)
        writer.write(next(answers))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with connected(RedisSettings(port=port)) as direct:
            with pytest.raises(BrokerDownError, match="not a Redis reply"):
                await asyncio.to_thread(direct, "PING")
            with pytest.raises(BrokerDownError, match="nobody asked for"):
                await asyncio.to_thread(direct, "PING")
            assert await asyncio.to_thread(direct, "PING") == b"PONG"


def test_an_interrupt_of_the_caller_leaves_no_reply_to_the_next(broker_settings, monkeypatch):
    with connected(broker_settings) as direct:
        direct("SET", "a", "1")
        wire = direct.connection._link._wire

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(wire, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            direct("GET", "a")

        assert wire.closed
        assert direct("ECHO", "mine") == b"mine"


def test_commands_travel_while_their_caller_does_something_else(broker_settings):
    with connected(broker_settings) as direct:
        command = direct.connection.command
        first, second = Begun(command("ECHO", "1")), Begun(command("ECHO", "2"))
        failing = Begun(command("NOSUCH"))

        assert second.result() == b"2"
        assert first.result() == b"1"
        with pytest.raises(BrokerError, match="NOSUCH"):
            failing.result()


def test_another_thread_may_end_a_call(own_server):
    with connected(own_server.settings()) as direct, ThreadPoolExecutor(1) as pool:
        direct("PING")
        own_server.pause()
        try:
            asking = pool.submit(direct, "PING")
            wire = direct.connection._link._wire
            wait_until(lambda: wire._pending, what="the command has been sent")
            direct.connection.end()
            with pytest.raises(BrokerDownError, match="closed"):
                asking.result(20)
        finally:
            own_server.resume()
        with pytest.raises(DulyError, match="the client was closed"):
            direct("PING")


def test_a_server_that_became_a_replica_is_left(own_server, valkey_server):
    with connected(own_server.settings()) as direct:
        direct("SET", "a", "1")
        with own_server.client() as admin:
            admin.execute_command("REPLICAOF", "127.0.0.1", valkey_server.port)
        with pytest.raises(BrokerDownError, match="READONLY"):
            direct("SET", "a", "2")
        assert direct.connection._link._wire.closed
        with own_server.client() as admin:
            admin.execute_command("REPLICAOF NO ONE")

        assert direct("SET", "a", "3") == b"OK"


@pytest.fixture
def cluster(tmp_path):
    """Three masters with a replica each, of this test alone; a dead one is replaced soon."""
    with RedisCluster.create(
        tmp_path / "cluster", replicas=1, durable=True, node_timeout_ms=1_000
    ) as cluster:
        for server in cluster.servers + cluster.replicas:
            with server.client() as client:
                client.config_set("cluster-require-full-coverage", "no")
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["pause", "kill9"])
def test_a_master_of_a_cluster_that_hangs_or_dies_is_left(cluster, fault):
    keys = {}
    for number in range(200):
        keys.setdefault(cluster.owner(f"key-{number}").port, f"key-{number}")
    assert len(keys) == 3
    with connected(cluster.settings().model_copy(update={"timeout": SOON})) as direct:
        for key in keys.values():
            direct("SET", key, "1")
        lost = cluster.servers[0]
        key = keys.pop(lost.port)
        getattr(lost, fault)()
        with pytest.raises(BrokerDownError):
            direct("SET", key, "2")

        for other in keys.values():
            assert _at_last(direct, "SET", other, "2")
        assert _at_last(direct, "SET", key, "2"), "its replica has taken over"


def _at_last(direct, *command):
    def done():
        with contextlib.suppress(BrokerDownError):
            return direct(*command)

    wait_until(done, timeout=60, what=f"{command} is run")
    return True


def test_a_command_waits_while_its_slot_moves(cluster_server):
    cluster = cluster_server
    cluster.flush()
    first, second = "{moves}1", "{moves}2"
    slot, source = slot_of(first), cluster.owner(first)
    target = next(server for server in cluster.servers if server is not source)
    with (
        source.client() as old,
        target.client() as new,
        connected(cluster.settings()) as direct,
        ThreadPoolExecutor(1) as pool,
    ):
        names = [client.execute_command("CLUSTER MYID") for client in (old, new)]
        direct("SET", first, "1")
        direct("SET", second, "2")
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
        old.execute_command("MIGRATE", "127.0.0.1", target.port, first, 0, 5_000)
        # One key is here, the other there: TRYAGAIN, then ASK, then MOVED.
        asking = pool.submit(
            direct.script, "return redis.call('MGET', KEYS[1], KEYS[2])", first, second
        )
        assert not wait({asking}, timeout=0.3).done
        old.execute_command("MIGRATE", "127.0.0.1", target.port, second, 0, 5_000)
        assert asking.result(30) == [b"1", b"2"]
        for client in (new, old):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])
        assert direct("GET", first) == b"1"


async def test_a_sentinel_that_does_not_answer_is_named_as_the_cause(tmp_path):
    nodes = (f"127.0.0.1:{free_port()}",)
    settings = RedisSettings(sentinel={"master": "duly", "nodes": nodes}, timeout=SOON)
    with connected(settings) as direct, pytest.raises(BrokerDownError, match="sentinel duly"):
        await asyncio.to_thread(direct, "PING")
    await until(lambda: "duly-sentinels" not in {thread.name for thread in threading.enumerate()})
