"""The pytest plugin: real brokers, a frozen clock, and conditions with deadlines.

Load it with `-p duly.testing.plugin`. One server a pytest process is started at first use, so
runs under pytest-xdist do not meet.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio
from pydantic import SecretStr

from duly.runtime.settings import RedisSettings
from duly.testing.clock import FrozenClock
from duly.testing.cluster import RedisCluster
from duly.testing.environment import in_ci
from duly.testing.idle import Ran
from duly.testing.idle import run_until_idle as run_jobs_until_idle
from duly.testing.outage_store import OutageStore
from duly.testing.postgres import (  # noqa: F401 - fixtures
    database_url,
    postgres_server,
    postgres_url,
    sqlite_url,
)
from duly.testing.servers import ANSWER_TIMEOUT, BrokerServer, ServerMissingError
from duly.testing.topologies import SentinelCluster
from duly.testing.waiting import until as wait_for

BROKERS = ("valkey", "redis")
PROTOCOLS = ("resp2", "resp3")
STALLED_MS = 30_000
"""How long a node that others watch may stand still, where no test kills one."""
SHAPES = (*BROKERS, "sentinel", "cluster", "tls", "acl", *PROTOCOLS)
Started = TypeVar("Started", BrokerServer, SentinelCluster, RedisCluster)


def _missing(error: Exception) -> None:
    """Fail in CI, skip elsewhere: no broker variant may silently go untested."""
    if in_ci():
        pytest.fail(f"CI must have every server: {error}")
    pytest.skip(str(error))


def _served(make: Callable[[Path], Started], folder: Path) -> Iterator[Started]:
    try:
        server = make(folder)
    except ServerMissingError as error:
        _missing(error)
        raise
    with server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """A Valkey server for all tests of this process; it keeps nothing on disk."""
    yield from _served(BrokerServer.valkey, tmp_path_factory.mktemp("valkey"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """The machine's Redis server, for all tests of this process; it keeps nothing on disk."""
    yield from _served(BrokerServer.redis, tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """A Redis server that speaks only TLS, with client certificates."""
    yield from _served(BrokerServer.tls, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def acl_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """A Valkey server with one user, `duly`, who may do what duly needs and no more."""
    yield from _served(BrokerServer.acl, tmp_path_factory.mktemp("acl"))


@pytest.fixture(scope="session")
def sentinel_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelCluster]:
    """A Valkey master, a replica and three sentinels. Whoever kills one starts a set of its own."""
    # Nobody fails over by mistake: a master that stalls is no dead one.
    yield from _served(
        lambda folder: SentinelCluster.create(folder, down_after_ms=STALLED_MS),
        tmp_path_factory.mktemp("sentinel"),
    )


@pytest.fixture(scope="session")
def cluster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster of three Valkey masters."""
    yield from _served(
        lambda folder: RedisCluster.create(folder, node_timeout_ms=STALLED_MS),
        tmp_path_factory.mktemp("cluster"),
    )


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[BrokerServer]:
    """A durable Valkey server of this test alone: to be killed, paused and restarted."""
    yield from _served(
        lambda folder: BrokerServer.valkey(folder, durable=True), tmp_path / "broker"
    )


@pytest.fixture
def broker_settings(valkey_server: BrokerServer) -> RedisSettings:
    """Where an empty Valkey is."""
    valkey_server.flush()
    return valkey_server.settings()


@pytest.fixture(params=BROKERS)
def each_broker(request: pytest.FixtureRequest) -> RedisSettings:
    """Where an empty broker is; the test runs once for each of Valkey and Redis."""
    server: BrokerServer = request.getfixturevalue(f"{request.param}_server")
    server.flush()
    return server.settings()


@pytest.fixture(params=SHAPES)
def every_broker(request: pytest.FixtureRequest) -> RedisSettings:
    """Where an empty broker is, once for each way to run one: what conformance tests ask for.

    valkey, redis: alone; sentinel: behind three sentinels; cluster: of three masters;
    tls: encrypted, with client certificates; acl: with a user of few rights; resp2, resp3: the
    protocol that redis-py is told to speak.
    """
    if request.param in PROTOCOLS:
        valkey: BrokerServer = request.getfixturevalue("valkey_server")
        valkey.flush()
        url = SecretStr(f"{valkey.url}?protocol={request.param[-1]}")
        return RedisSettings(url=url, timeout=ANSWER_TIMEOUT)
    server: BrokerServer | SentinelCluster | RedisCluster = request.getfixturevalue(
        f"{request.param}_server"
    )
    server.flush()
    return server.settings()


@pytest.fixture
def run_until_idle(broker_settings: RedisSettings) -> Callable[..., Awaitable[list[Ran]]]:
    """`duly.testing.idle.run_until_idle` on the Valkey of `broker_settings`."""
    return partial(run_jobs_until_idle, broker_settings)


@pytest_asyncio.fixture
async def outage_store(broker_settings: RedisSettings) -> AsyncIterator[OutageStore]:
    """A store on the Valkey of `broker_settings` whose next calls can be made to fail."""
    async with OutageStore.open(broker_settings) as store:
        yield store


@pytest.fixture
def frozen_clock() -> FrozenClock:
    """A clock that stands still until `advance`."""
    return FrozenClock()


@pytest.fixture
def until() -> Callable[..., object]:
    """`duly.testing.waiting.until`: await a condition with a deadline."""
    return wait_for
