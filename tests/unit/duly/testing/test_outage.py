"""The proxy fails in each of the ways its methods name."""

import asyncio
import time

import pytest
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from duly.testing.outage import Outage
from duly.testing.waiting import until


@pytest.fixture
async def outage(broker_settings):
    async with Outage.before(broker_settings) as outage:
        yield outage


@pytest.fixture
async def client(outage):
    client = Redis(
        host=outage.settings.host, port=outage.port, retry=Retry(NoBackoff(), 0), socket_timeout=60
    )
    async with client:
        yield client


async def test_everything_passes_at_first(client, outage):
    await client.set("a", "x" * 1_000_000)

    assert len(await client.get("a")) == 1_000_000
    assert outage.connections == outage.accepted == 1


async def test_cut_breaks_open_connections_and_lets_new_ones_in(client, outage):
    await client.ping()
    waiting = asyncio.create_task(client.blpop(["nothing"], timeout=60))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.05)

    outage.cut()

    with pytest.raises(exceptions.ConnectionError):
        await waiting
    assert await client.ping()


async def test_refused_connections_are_let_in_after_heal(client, outage):
    outage.refuse()
    with pytest.raises(exceptions.ConnectionError):
        await client.ping()

    outage.heal()

    assert await client.ping()


@pytest.mark.parametrize(("requests", "arrived"), [(True, 0), (False, 1)])
async def test_black_hole_swallows_one_way(client, outage, valkey_server, requests, arrived):
    await client.ping()
    outage.black_hole(requests=requests, replies=not requests)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.set("a", 1)

    with valkey_server.client() as direct:
        if arrived:
            await until(lambda: direct.exists("a"))
        assert direct.exists("a") == arrived


async def test_a_lost_reply_leaves_the_request_executed(client, outage, valkey_server):
    lost = outage.lose_next_reply(lambda data: b"INCR" in data)

    with pytest.raises(exceptions.ConnectionError):
        await client.incr("a")

    assert lost.is_set()
    with valkey_server.client() as direct:
        assert direct.get("a") == "1"
    assert await client.incr("a") == 2


async def test_slices_and_latency_arrive_whole_and_late(client, outage):
    await client.ping()
    outage.slice_bytes, outage.latency_seconds = 3, 0.01
    begin = time.monotonic()

    assert await client.echo("0123456789") == b"0123456789"

    assert time.monotonic() - begin >= 0.06


async def test_bandwidth_is_a_limit(client, outage):
    await client.set("a", "x" * 10_000)
    outage.bytes_per_second = 100_000
    begin = time.monotonic()

    await client.get("a")

    assert time.monotonic() - begin >= 0.1


async def test_connection_is_cut_after_some_bytes(client, outage):
    await client.ping()
    outage.cut_after_bytes = 1_000

    with pytest.raises(exceptions.ConnectionError):
        await client.echo("x" * 1_000)
    await until(lambda: outage.connections == 0)
