"""The pytest plugin: real brokers, a frozen clock, and conditions with deadlines.

Load it with `-p duly.testing.plugin`. Each pytest process starts its own servers at first use, so
that workers of pytest-xdist do not interfere.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio
from pydantic import SecretStr

from duly.app.declaration import App
from duly.app.loading import load_app
from duly.runtime.loading import load
from duly.runtime.settings import RedisSettings, Settings
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
"""How long a watched node may stall where no test kills one."""
SHAPES = (*BROKERS, "sentinel", "cluster", "tls", "acl", *PROTOCOLS)
Started = TypeVar("Started", BrokerServer, SentinelCluster, RedisCluster)


def _missing(error: Exception) -> None:
    """Fail in CI, skip elsewhere: no kind of broker may go untested unnoticed."""
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
    """A Valkey server for all tests of this process, without persistence."""
    yield from _served(BrokerServer.valkey, tmp_path_factory.mktemp("valkey"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """The machine's Redis server for all tests of this process, without persistence."""
    yield from _served(BrokerServer.redis, tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """A Redis server that accepts only TLS with client certificates."""
    yield from _served(BrokerServer.tls, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def acl_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """A Valkey server whose user `duly` has only the rights that duly needs."""
    yield from _served(BrokerServer.acl, tmp_path_factory.mktemp("acl"))


@pytest.fixture(scope="session")
def sentinel_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelCluster]:
    """A Valkey master, a replica and three sentinels. A test that kills one starts its own set."""
    # A master that only stalls must not be failed over.
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
    """A durable Valkey server of this test alone, which may be killed, paused and restarted."""
    yield from _served(
        lambda folder: BrokerServer.valkey(folder, durable=True), tmp_path / "broker"
    )


@pytest.fixture
def broker_settings(valkey_server: BrokerServer) -> RedisSettings:
    """The settings of an empty Valkey."""
    valkey_server.flush()
    return valkey_server.settings()


@pytest.fixture(params=BROKERS)
def each_broker(request: pytest.FixtureRequest) -> RedisSettings:
    """The settings of an empty broker; the test runs on Valkey and on Redis."""
    server: BrokerServer = request.getfixturevalue(f"{request.param}_server")
    server.flush()
    return server.settings()


@pytest.fixture(params=SHAPES)
def every_broker(request: pytest.FixtureRequest) -> RedisSettings:
    """The settings of an empty broker, once for each way to run one, for conformance tests.

    valkey, redis: alone; sentinel: behind three sentinels; cluster: of three masters;
    tls: encrypted, with client certificates; acl: with a user of few rights; resp2, resp3: with
    that version of the protocol.
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `duly_app`, the application that the fixture of that name loads."""
    parser.addini("duly_app", "the application under test, as module:name", default="")


@pytest.fixture
def duly_app(pytestconfig: pytest.Config) -> Iterator[App]:
    """The application that `duly_app` in pytest's configuration names, else the variable DULY_APP.

    What a test puts into its `dependency_overrides` is gone after the test.
    """
    app = load_app(pytestconfig.getini("duly_app") or load(Settings).app)
    before = dict(app.dependency_overrides)
    yield app
    app.dependency_overrides = before


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
    """A clock that stands still until it is advanced."""
    return FrozenClock()


@pytest.fixture
def until() -> Callable[..., object]:
    """`duly.testing.waiting.until`: awaits a condition with a deadline."""
    return wait_for
