"""Nodes of a Cluster hang, die, return and are emptied: each is left, and found again."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from duly.engine.storage.keys import QUEUES, queue_keys
from duly.engine.storage.store import Store
from duly.engine.transport.cluster import key_of
from duly.engine.transport.connection import Connection
from duly.engine.transport.reader import Reader
from duly.engine.transport.slot_map import slot_of
from duly.errors import BrokerDownError, BrokerError
from duly.testing.cluster import RedisCluster
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(300)
TIMEOUT = timedelta(milliseconds=500)


@pytest.fixture
def cluster(tmp_path):
    """Three masters with a replica each, of this test alone; a dead one is replaced soon."""
    with RedisCluster.create(
        tmp_path / "cluster", replicas=1, durable=True, node_timeout_ms=1_000
    ) as cluster:
        serve_in_part(cluster)
        yield cluster


def serve_in_part(cluster):
    """Have the nodes serve their own slots although another one's are not served."""
    for server in cluster.servers + cluster.replicas:
        with server.client() as client:
            client.config_set("cluster-require-full-coverage", "no")


def hasty(cluster):
    return cluster.settings().model_copy(update={"timeout": TIMEOUT})


def keys_of(cluster):
    """Return a key on each master."""
    found = {}
    for number in range(1000):
        key = f"key-{number}"
        found.setdefault(cluster.owner(key).port, key)
        if len(found) == len(cluster.servers):
            return found
    raise AssertionError("no key for some master")


async def answers(connection, *command):
    """Return whether a command is run at last."""
    try:
        await connection.command(*command)
    except BrokerDownError:
        return False
    return True


@pytest.mark.parametrize(
    ("key", "slot"), [("123456789", 12739), ("{123456789}:a", 12739), ("a{}b", slot_of("a{}b"))]
)
def test_a_slot_is_that_of_the_part_in_braces(key, slot):
    assert slot_of(key) == slot


def test_a_message_goes_to_the_node_of_its_queue():
    control = queue_keys("default").control
    assert key_of(("PUBLISH", control, "look")) == control


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["pause", "kill9"])
async def test_a_master_that_hangs_or_dies_is_left_and_the_others_serve_meanwhile(
    cluster, fault, stopwatch
):
    keys = keys_of(cluster)
    async with Connection.open(hasty(cluster)) as connection:
        for key in keys.values():
            await connection.command("SET", key, "1")
        # The one that every client begins with.
        lost = cluster.servers[0]
        getattr(lost, fault)()
        others = [key for port, key in keys.items() if port != lost.port]

        async def whole():
            for key in others:
                begin = stopwatch()
                await connection.command("SET", key, "2")
                assert stopwatch() - begin < TIMEOUT.total_seconds()
            served = await answers(connection, "SET", keys[lost.port], "2")
            await connection.command("INFO")  # at any node, so not at this one
            return served

        await until(whole, timeout=30)
        assert cluster.replicas[0].port in {port for _, port in await connection.cluster.masters()}


@pytest.mark.slow
async def test_a_client_that_knew_only_the_lost_node_finds_the_rest(cluster):
    settings = hasty(cluster)
    lost = cluster.servers[0]
    async with Connection.open(settings) as connection:
        await connection.command("SET", "a", "1")
        lost.pause()
        for key in keys_of_others(cluster, lost):
            await connection.command("SET", key, "1")


def keys_of_others(cluster, lost):
    survivor = next(server for server in cluster.servers if server is not lost)
    with survivor.client() as client:
        ranges = client.execute_command("CLUSTER SLOTS")
    ours = next((first, last) for first, last, place, *_ in ranges if int(place[1]) == lost.port)
    names = (f"key-{number}" for number in range(50))
    return [name for name in names if not ours[0] <= slot_of(name) <= ours[1]]


@pytest.mark.slow
async def test_a_node_that_returns_empty_is_not_believed(cluster):
    keys = keys_of(cluster)
    lost = cluster.servers[0]
    async with Connection.open(hasty(cluster)) as connection:
        for key in keys.values():
            await connection.command("SET", key, "1")
        lost.kill9()
        await until(lambda: answers(connection, "SET", keys[lost.port], "2"), timeout=30)
        (lost.folder / "nodes.conf").unlink()
        lost.start()
        for _ in range(20):
            # As after a failover or a MOVED: the map is asked for anew, at random.
            for server in cluster.servers[1:]:
                connection.cluster.failed(("127.0.0.1", server.port))
            for key in keys.values():
                await connection.command("SET", key, "3")

    async with Connection.open(hasty(cluster)) as fresh:
        with pytest.raises(BrokerDownError, match="no node serves"):
            await fresh.command("SET", "a", "1")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["pause", "kill9"])
async def test_a_queue_stays_known_although_the_node_with_the_list_is_lost(cluster, fault):
    lost = cluster.owner(QUEUES)
    names = (f"queue-{number}" for number in range(100))
    name = next(name for name in names if cluster.owner(queue_keys(name).stream) is not lost)
    async with Store.open(hasty(cluster)) as store:
        await store.register(name)
        getattr(lost, fault)()
        store._known[name] = 0.0  # as ten seconds later

        assert (await store.register(name)).stream == queue_keys(name).stream


@pytest.mark.slow
async def test_a_waiting_read_leaves_a_node_that_hangs(cluster, stopwatch):
    keys = queue_keys("default")
    async with Connection.open(hasty(cluster)) as connection:
        await connection.command("XGROUP", "CREATE", keys.stream, "workers", "0", "MKSTREAM")
        reader = Reader(connection, keys.stream)
        assert await reader.read("workers", "alice", count=1, block_ms=1) == []
        cluster.owner(keys.stream).pause()

        async def read():
            try:
                return await reader.read("workers", "alice", count=1, block_ms=500)
            except BrokerError:
                return []

        async def added():
            return await answers(connection, "XADD", keys.stream, "*", "a", "b")

        await until(added, timeout=30)
        begin = stopwatch()
        assert await until(read, timeout=30)
        assert stopwatch() - begin < 5
        reader.close()


async def test_a_command_waits_while_its_slot_moves(cluster_server):
    cluster = cluster_server
    cluster.flush()
    first, second = "{moving}1", "{moving}2"
    slot, source = slot_of(first), cluster.owner(first)
    target = next(server for server in cluster.servers if server is not source)
    with source.client() as old, target.client() as new:
        names = [client.execute_command("CLUSTER MYID") for client in (old, new)]
        async with Connection.open(cluster.settings()) as connection:
            await connection.command("SET", first, "1")
            await connection.command("SET", second, "2")
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
            old.execute_command("MIGRATE", "127.0.0.1", target.port, first, 0, 5_000)
            # One key is here, the other there.
            asking = asyncio.create_task(
                connection.script("0" * 40, "return redis.call('MGET', KEYS[1], KEYS[2])",
                                  (first, second), ())
            )  # fmt: skip
            done, _ = await asyncio.wait({asking}, timeout=0.3)
            assert not done
            old.execute_command("MIGRATE", "127.0.0.1", target.port, second, 0, 5_000)
            for client in (new, old):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])

            assert await asking == [b"1", b"2"]


async def test_a_slot_that_moves_for_too_long_is_called_that(cluster_server, stopwatch):
    cluster = cluster_server
    cluster.flush()
    first, second = "{stays}1", "{stays}2"
    slot, source = slot_of(first), cluster.owner(first)
    target = next(server for server in cluster.servers if server is not source)
    with source.client() as old, target.client() as new:
        names = [client.execute_command("CLUSTER MYID") for client in (old, new)]
        settings = cluster.settings().model_copy(update={"timeout": timedelta(seconds=1)})
        async with Connection.open(settings) as connection:
            await connection.command("SET", first, "1")
            await connection.command("SET", second, "2")
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
            old.execute_command("MIGRATE", "127.0.0.1", target.port, first, 0, 5_000)

            begin = stopwatch()
            with pytest.raises(BrokerDownError, match=r"is not ready: a slot has been moving"):
                await connection.command("MGET", first, second)
            assert stopwatch() - begin < 3

            old.execute_command("MIGRATE", "127.0.0.1", target.port, second, 0, 5_000)
            for client in (new, old):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])


@pytest.mark.slow
async def test_a_waiting_read_follows_a_failover_by_hand(cluster):
    keys = queue_keys("default")
    async with Connection.open(cluster.settings()) as connection:
        await connection.command("XGROUP", "CREATE", keys.stream, "workers", "0", "MKSTREAM")
        reader = Reader(connection, keys.stream)
        owner = cluster.owner(keys.stream)
        replica = cluster.replicas[cluster.servers.index(owner)]
        found = []

        async def read():
            while not found:
                with contextlib.suppress(BrokerDownError):
                    found.extend(await reader.read("workers", "alice", count=1, block_ms=2_000))

        reading = asyncio.create_task(read())
        with replica.client() as client:
            client.execute_command("CLUSTER FAILOVER")
            await until(lambda: client.execute_command("ROLE")[0] == "master")
        await until(lambda: answers(connection, "XADD", keys.stream, "*", "a", "b"))

        async with asyncio.timeout(5):
            await reading
        reader.close()
