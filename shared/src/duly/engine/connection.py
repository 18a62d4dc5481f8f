"""Connections to the broker: one master, a master found by Sentinel, or a Cluster.

redis-py finds the server, authenticates and encrypts. It never repeats a command here: whoever
sends one knows whether repeating it is safe.
"""

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

import redis
from redis import exceptions
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry as BlockingRetry

from duly.engine.wire import Link, Place
from duly.errors import BrokerDownError, BrokerError, BrokerPolicyError, ConfigError
from duly.runtime.settings import RedisSettings

_DOWN = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    OSError,
    TimeoutError,
)
_OLDEST = (6, 2)


def address(settings: RedisSettings) -> str:
    """Return where the broker is, fit for a log: no user, no password."""
    if settings.sentinel.master:
        return f"sentinel {settings.sentinel.master} of {', '.join(settings.sentinel.nodes)}"
    if settings.url is not None:
        scheme, _, rest = settings.url.get_secret_value().partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
    return f"{settings.host}:{settings.port}"


class broker_errors:  # noqa: N801 - used as contextlib's are
    """Turns what redis-py raises into duly's own errors; `where` names the broker.

    A class, since it is entered for every command: a generator takes four times as long.
    """

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        """Do nothing: only the end is of interest."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise duly's error in the place of redis-py's."""
        where = self._where
        if error is None:
            return
        if isinstance(error, exceptions.AuthenticationError):
            raise BrokerError(
                f"the broker at {where} refused the log-in: {error} "
                "(check redis.username and redis.password)"
            ) from None
        if isinstance(error, _DOWN):
            timed_out = isinstance(error, TimeoutError | exceptions.TimeoutError)
            cause = str(error) or type(error).__name__
            raise BrokerDownError(where, cause, timed_out=timed_out) from error
        if isinstance(error, exceptions.RedisError):
            raise BrokerError(f"the broker at {where} refused a command: {error}") from error


def _options(settings: RedisSettings) -> dict[str, Any]:
    """Return the keyword arguments that every kind of client shares."""
    seconds = settings.timeout.total_seconds()
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    if settings.username:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    tls = settings.tls
    if tls.enabled:
        options |= {
            "ssl": True,
            "ssl_ca_certs": tls.ca_file,
            "ssl_certfile": tls.cert_file,
            "ssl_keyfile": tls.key_file,
            "ssl_cert_reqs": "required" if tls.verify else "none",
            "ssl_check_hostname": tls.verify,
        }
    return options


def _nodes(settings: RedisSettings) -> list[tuple[str, int]]:
    """Return the sentinels' addresses.

    Raises:
        ConfigError: One is not host:port, or there is none.
    """
    nodes = []
    for node in settings.sentinel.nodes:
        host, _, port = node.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError("redis.sentinel.nodes", f"{node!r} is not host:port")
        nodes.append((host.strip("[]"), int(port)))
    if not nodes:
        raise ConfigError("redis.sentinel.nodes", "empty", remedy="name the sentinels as host:port")
    return nodes


def _sentinel_options(settings: RedisSettings) -> dict[str, Any]:
    options = {**_options(settings), "username": settings.sentinel.username}
    secret = settings.sentinel.password
    options["password"] = secret.get_secret_value() if secret else None
    return options


def _open(settings: RedisSettings) -> Redis | RedisCluster:
    """Return a client that is not connected yet."""
    options = _options(settings)
    never = Retry(NoBackoff(), 0)
    if settings.sentinel.master:
        sentinel = cast("Any", Sentinel)(
            _nodes(settings), sentinel_kwargs=_sentinel_options(settings)
        )
        master = settings.sentinel.master
        return cast("Redis", sentinel.master_for(master, db=settings.db, retry=never, **options))
    try:
        if settings.cluster:
            if settings.url is not None:
                return RedisCluster.from_url(settings.url.get_secret_value(), **options)
            return RedisCluster(host=settings.host, port=settings.port, **options)
        if settings.url is not None:
            options.pop("ssl", None)
            return Redis.from_url(settings.url.get_secret_value(), retry=never, **options)
    except ValueError as error:
        raise ConfigError("redis.url", str(error), remedy="redis://host:6379/0") from None
    return Redis(host=settings.host, port=settings.port, db=settings.db, retry=never, **options)


def open_blocking(settings: RedisSettings) -> "redis.Redis | redis.RedisCluster":
    """Return a client for threads, not connected yet. The caller closes it."""
    options = _options(settings)
    if not settings.cluster:
        # The heartbeat must notice an outage, not sit it out.
        options["retry"] = BlockingRetry(NoBackoff(), 0)
    if settings.sentinel.master:
        sentinel = cast("Any", redis.Sentinel)(
            _nodes(settings), sentinel_kwargs=_sentinel_options(settings)
        )
        return cast(
            "redis.Redis", sentinel.master_for(settings.sentinel.master, db=settings.db, **options)
        )
    if settings.cluster:
        if settings.url is not None:
            return redis.RedisCluster.from_url(settings.url.get_secret_value(), **options)
        return redis.RedisCluster(host=settings.host, port=settings.port, **options)
    if settings.url is not None:
        options.pop("ssl", None)
        return redis.Redis.from_url(settings.url.get_secret_value(), **options)
    return redis.Redis(host=settings.host, port=settings.port, db=settings.db, **options)


def _tls(options: dict[str, Any]) -> ssl.SSLContext:
    """Return the context that redis-py would make of the same options."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    if options.get("ssl_cert_reqs") in {"none", None, ssl.CERT_NONE}:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif options.get("ssl_check_hostname") is False:
        context.check_hostname = False
    return context


def _as_is(response: Any, **_: Any) -> Any:  # noqa: ANN401
    return response


_AS_IS = cast("Any", _as_is)


def entries_of(answer: Any) -> list[Any]:  # noqa: ANN401 - a map in RESP3, a list in RESP2
    """Return the [entry id, fields] pairs of a XREADGROUP on one stream."""
    if not answer:
        return []
    return next(iter(answer.values())) if isinstance(answer, dict) else answer[0][1]


class Connection:
    """One client of the broker, shared by all coroutines of a process."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.address = address(settings)
        self.client = _open(settings)
        # Replies of streams are read as they come: redis-py's own parsing costs more than the rest.
        for command in ("XREADGROUP", "XRANGE", "XREVRANGE", "XPENDING"):
            self.client.set_response_callback(command, _AS_IS)
        self.seconds = settings.timeout.total_seconds()
        # A cluster is a connection a node, with moves and redirections: redis-py knows how.
        self._link = (
            None
            if isinstance(self.client, RedisCluster)
            else Link(self._find, timeout=self.seconds)
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open for the body of an `async with`. Connects at the first command, not here."""
        connection = cls(settings)
        try:
            yield connection
        finally:
            if connection._link is not None:
                connection._link.close()
            await connection.client.aclose()

    async def command(self, *args: Any) -> Any:  # noqa: ANN401 - whatever the command answers
        """Send one command and return its answer.

        Raises:
            BrokerDownError: No answer within `redis.timeout`.
            BrokerError: The broker refused the command.
        """
        with broker_errors(self.address):
            return await self._send(*args)

    async def many(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send several commands in one round trip (one a node in a Cluster)."""
        with broker_errors(self.address):
            if self._link is not None:
                return await self._link.calls(commands)
            async with asyncio.timeout(self.seconds):
                pipeline = self.client.pipeline()
                for command in commands:
                    pipeline.execute_command(*command)
                return await pipeline.execute()

    async def script(self, sha: str, text: str, keys: tuple[str, ...], args: Any) -> Any:  # noqa: ANN401
        """Run a script by its digest; send its text where the broker does not know it yet."""
        with broker_errors(self.address):
            try:
                return await self._send("EVALSHA", sha, len(keys), *keys, *args)
            except exceptions.NoScriptError:
                return await self._send("EVAL", text, len(keys), *keys, *args)

    async def _send(self, *args: Any) -> Any:  # noqa: ANN401
        if self._link is not None:
            return await self._link.call(*args)
        async with asyncio.timeout(self.seconds):
            return await cast("Awaitable[Any]", self.client.execute_command(*args))

    async def _find(self) -> Place:
        """Return where the master is now; Sentinel is asked each time."""
        pool = cast("Any", self.client).connection_pool
        options = pool.connection_kwargs
        host, port = options.get("host") or "localhost", options.get("port") or 6379
        if isinstance(pool, SentinelConnectionPool):
            host, port = await cast("Any", pool).get_master_address()
        return Place(
            host=host,
            port=int(port),
            path=options.get("path") or "",
            username=options.get("username"),
            password=options.get("password"),
            db=int(options.get("db") or 0),
            tls=_tls(options) if issubclass(pool.connection_class, SSLConnection) else None,
            server_name=host,
        )

    async def check(self) -> None:
        """Return when the broker answers and will keep what it is given.

        Raises:
            BrokerDownError: No answer.
            BrokerPolicyError: It is too old, or it evicts keys and `redis.allow_eviction` is off.
        """
        info = await self._info()
        version = str(info.get("valkey_version") or info.get("redis_version") or "7.0")
        numbers = tuple(int(part) for part in version.split(".")[:2])
        if numbers < _OLDEST:
            raise BrokerPolicyError(
                f"the broker at {self.address} is version {version}: duly needs Redis 6.2 or "
                "newer, or Valkey"
            )
        policy = str(info.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction" and not self.settings.allow_eviction:
            raise BrokerPolicyError(
                f"the broker at {self.address} has maxmemory-policy {policy}: it may evict tasks. "
                "Set it to noeviction, or set redis.allow_eviction: true to accept the loss"
            )

    async def _info(self) -> dict[str, Any]:
        with broker_errors(self.address):
            async with asyncio.timeout(self.seconds):
                if isinstance(self.client, RedisCluster):
                    await self.client.initialize()
                    node = self.client.get_default_node()
                    return await self.client.info(target_nodes=node)
                return await self.client.info()


@dataclass(slots=True)
class Reader:
    """A connection of its own for blocking reads of one stream, past redis-py's parsing."""

    connection: Connection
    key: str
    _raw: Any = None
    _node: ClusterNode | None = None
    _client_id: int = 0

    async def read(self, group: str, consumer: str, *, count: int, block_ms: int) -> list[Any]:
        """Return up to `count` new entries as [entry id, [field, value, …]], none after the wait.

        Raises:
            BrokerDownError: The connection broke, or the answer is overdue.
            BrokerError: The command was refused; NOGROUP among others.
        """
        with broker_errors(self.connection.address):
            if self._raw is None:
                await self._connect()
            try:
                async with asyncio.timeout(block_ms / 1000 + self.connection.seconds):
                    answer = await self._ask(
                        "XREADGROUP", "GROUP", group, consumer, "COUNT", count,
                        "BLOCK", block_ms, "STREAMS", self.key, ">",
                    )  # fmt: skip
            except exceptions.ResponseError:
                raise
            except BaseException:
                # The answer may still come: nobody else must read it from this connection.
                await self.close()
                raise
        return entries_of(answer)

    async def interrupt(self) -> None:
        """Make a blocked `read` return at once."""
        if self._client_id:
            command = ("CLIENT", "UNBLOCK", self._client_id)
            with broker_errors(self.connection.address):
                if self._node is not None:
                    await self._node.execute_command(*command)
                else:
                    await self.connection.command(*command)

    async def _ask(self, *args: Any) -> Any:  # noqa: ANN401
        await self._raw.send_command(*args)
        return await self._raw.read_response(timeout=math.inf)

    async def _connect(self) -> None:
        client = self.connection.client
        async with asyncio.timeout(self.connection.seconds):
            if isinstance(client, RedisCluster):
                await client.initialize()
                self._node = client.get_node_from_key(self.key)
                if self._node is None:
                    raise exceptions.ConnectionError(f"no cluster node serves {self.key}")
                self._raw = self._node.acquire_connection()
                await self._raw.connect()
            else:
                self._raw = await cast("Any", client.connection_pool).get_connection()
            self._client_id = int(await self._ask("CLIENT", "ID"))

    async def close(self) -> None:
        """Close the connection; the next `read` opens another."""
        raw, node, self._raw, self._node, self._client_id = self._raw, self._node, None, None, 0
        if raw is None:
            return
        await raw.disconnect(nowait=True)
        client = self.connection.client
        if node is not None:
            node.release(raw)
        elif not isinstance(client, RedisCluster):
            await client.connection_pool.release(raw)
