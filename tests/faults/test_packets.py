"""Packets between workers and the broker are lost: no connection ends, and nobody is told."""

import contextlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.storage.keys import queue_keys
from duly.errors import BrokerDownError
from duly.testing.cluster import RedisCluster
from duly.testing.environment import in_ci
from duly.testing.history import What
from duly.testing.network import Network, NoNetworkError
from duly.testing.servers import BrokerServer, valkey_program
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)
LEASE = 2.0
SECONDS = 90.0
PATIENCE = timedelta(seconds=1)
"""`redis.timeout` of what is cut off: shorter than its lease, as in production."""


@pytest.fixture
def network():
    """A router in whose namespace the test is, and hosts around it."""
    try:
        opened = Network.open()
        network = opened.__enter__()
    except NoNetworkError as error:
        if in_ci() and os.geteuid() == 0:
            pytest.fail(str(error))
        pytest.skip(str(error))
    try:
        yield network
    finally:
        opened.__exit__(None, None, None)


@pytest.fixture
def brokers(network):
    """The host of the broker."""
    return network.host("brokers")


@pytest.fixture
async def floor(network, brokers, tmp_path, open_floor):
    """A durable Valkey on a host of its own, and who works on it."""
    with BrokerServer(
        program=brokers.program(valkey_program(), tmp_path),
        folder=tmp_path / "broker",
        durable=True,
        host=brokers.address,
    ) as server:
        async with open_floor(server.settings()) as floor:
            yield floor


def worker_on(host, floor, name, **options):
    """Start a worker on a host, as it is configured in production."""
    settings = floor.settings.model_copy(update={"timeout": PATIENCE})
    redis = settings.model_dump(mode="json")
    return floor.worker(name, prefix=host.prefix, redis=redis, **options)


async def leases_over(floor, lease_seconds):
    """Wait until no worker has been heard of for two leases."""

    async def so():
        servers = await floor.inspector.servers.list()
        last = max(server.beat_at for server in servers)
        return datetime.now(UTC) - last > timedelta(seconds=2 * lease_seconds)

    await until(so, timeout=SECONDS, what="no heartbeat for two leases")


WAYS = {
    "both ways": Network.cut,
    "requests only": Network.drop,
    "replies only": lambda network, host, brokers: network.drop(brokers, host),
}


@pytest.mark.fault("packets lost")
@pytest.mark.parametrize("way", WAYS)
async def test_a_worker_whose_packets_are_lost_longer_than_its_lease_gives_way(
    network, brokers, floor, way
):
    lonely, other = network.host("lonely"), network.host("other")
    worker_on(lonely, floor, "cut-off", lease_seconds=LEASE, concurrency=1)
    await floor.enqueue(held=True)
    await floor.happened(What.START)

    WAYS[way](network, lonely, brokers)
    floor.measured.faults += 1
    worker_on(other, floor, "other", lease_seconds=10)
    await floor.happened(What.START, 2)
    await floor.enqueue(10)
    await floor.happened(What.END, 10)
    network.heal()

    await floor.happened(What.REFUSED)
    floor.go()
    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    report = await floor.inspector.queues.get("default")
    assert (report.processed, report.crashed) == (11, 1)


@pytest.mark.fault("packets lost")
async def test_all_workers_cut_off_longer_than_a_lease_keep_what_they_run(network, brokers, floor):
    hosts = [network.host(name) for name in ("one", "two")]
    for host in hosts:
        worker_on(host, floor, host.name, lease_seconds=2 * LEASE, concurrency=2)
    await floor.ready(2)
    await floor.enqueue(4, held=True)
    await floor.happened(What.START, 4)

    for host in hosts:
        network.cut(host, brokers)
        floor.measured.faults += 1
    await floor.enqueue(5)
    await leases_over(floor, 2 * LEASE)
    network.heal()
    floor.go()

    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert found.starts == 9
    assert (await floor.inspector.queues.get("default")).crashed == 0


@pytest.mark.fault("packets lost")
async def test_what_the_broker_delivered_to_nobody_is_taken_up(network, brokers, floor):
    """A worker that waits for tasks is cut off; the broker sends them to its old connection."""
    lonely = network.host("lonely")
    worker = worker_on(lonely, floor, "worker")
    await floor.ready()
    network.cut(lonely, brokers)
    floor.measured.faults += 1

    await floor.enqueue(5)
    worker.said("Broker unreachable")
    network.heal()
    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert found.starts == 5
    assert (await floor.inspector.queues.get("default")).crashed == 0


@pytest.mark.fault("packets lost")
async def test_a_client_whose_replies_are_lost_gets_an_error_and_goes_on(network, brokers, floor):
    settings = floor.settings.model_copy(update={"timeout": PATIENCE})
    async with Client.connect(settings) as client:
        await client.enqueue(floor.job(), task_id="before")
        network.drop(brokers)
        with pytest.raises(BrokerDownError):
            await client.enqueue(floor.job(), task_id="meanwhile")
        network.heal()

        async def again():
            with contextlib.suppress(BrokerDownError):
                return await client.enqueue(floor.job(), task_id="after")

        await until(again, timeout=SECONDS)

    listed = await floor.listed()
    assert set(listed) >= {"before", "after"}
    assert len(listed) == len(set(listed))


@pytest.mark.fault("packets lost")
async def test_a_link_that_loses_packets_all_the_time_loses_and_doubles_nothing(
    network, floor, enqueuing
):
    lonely = network.host("lonely")
    network.congest(lonely, bits_per_second=300_000, queue_bytes=4_000)
    worker_on(lonely, floor, "worker", lease_seconds=5)
    await floor.ready()

    async with enqueuing(seconds=0.01):
        await floor.happened(What.END, 100)
        await until(lambda: network.lost(lonely) > 0, timeout=SECONDS)

    await floor.idle()
    found = await floor.verdict()
    assert found.good, found
    assert found.starts == found.accepted
    floor.measured.figures["packets lost"] = str(network.lost(lonely))


@pytest.mark.fault("packets lost")
async def test_packets_of_one_shard_are_lost_and_the_other_queue_goes_on(
    network, brokers, tmp_path, open_floor
):
    lonely, other = network.host("lonely"), network.host("other")
    program = brokers.program(valkey_program(), tmp_path)
    with RedisCluster.create(
        tmp_path / "cluster", program=program, host=brokers.address, node_timeout_ms=30_000
    ) as cluster:
        owners = {
            name: cluster.owner(queue_keys(name).stream)
            for name in (f"queue-{number}" for number in range(20))
        }
        lost_queue = "queue-0"
        sound_queue = next(name for name in owners if owners[name] is not owners[lost_queue])
        async with open_floor(cluster.settings()) as floor:
            queues = {lost_queue: 1, sound_queue: 1}
            worker_on(lonely, floor, "cut-off", lease_seconds=LEASE, queues=queues)
            await floor.enqueue(held=True, queue=lost_queue)
            await floor.enqueue(held=True, queue=sound_queue)
            await floor.happened(What.START, 2)

            network.cut(lonely, brokers, port=owners[lost_queue].port)
            floor.measured.faults += 1
            # Nobody else works on the sound queue: it is up to the worker that lost the other.
            sound = await floor.enqueue(10, queue=sound_queue)
            await floor.ended(sound)
            worker_on(other, floor, "other", lease_seconds=10, queues={lost_queue: 1})
            lost = await floor.enqueue(10, queue=lost_queue)
            await floor.ended(lost)
            await floor.happened(What.START, 23)
            network.heal()
            await floor.happened(What.REFUSED)
            floor.go()

            for name in queues:
                await floor.idle(name)
            found = await floor.verdict(queue=sound_queue)
            assert found.good, found
            starts = [event.task for event in floor.events(What.START)]
            assert [starts.count(task) for task in floor.accepted[:2]] == [2, 1]
