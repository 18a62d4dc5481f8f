"""Connections to the broker: commands, scripts, and the reads that wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from redis import exceptions

from duly.engine.cluster import ClusterLink, Node
from duly.engine.places import Places, address
from duly.engine.wire import Link, Wire, connect
from duly.errors import BrokerDownError, BrokerError, BrokerPolicyError, BrokerWriteError
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
_REMEDIES = {
    "db index is out of range": "check redis.db",
    "cluster support disabled": "it is no Cluster: leave redis.cluster out",
    "unknown command 'sentinel": "it is no sentinel: check redis.sentinel.nodes",
}
_OLDEST = (6, 2)
_NEVER_OVERDUE = 24 * 3600.0


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
        if isinstance(error, exceptions.ResponseError) and _refuses_writes(str(error)):
            raise BrokerWriteError(where, error) from error
        if isinstance(error, exceptions.RedisError):
            raise BrokerError(
                f"the broker at {where} refused a command: {error}{_remedy(error)}"
            ) from error


def _refuses_writes(message: str) -> bool:
    # Redis 6 puts what a script's command was told into a longer sentence.
    return any(sign in message for sign in ("OOM ", "MISCONF ", "NOREPLICAS "))


def _remedy(error: exceptions.RedisError) -> str:
    """Return what to do about an answer that a wrong setting brings about, or ""."""
    if isinstance(error, exceptions.AskError):
        return " (it is a node of a Cluster: set redis.cluster: true)"
    message = str(error).lower()
    found = (remedy for sign, remedy in _REMEDIES.items() if sign in message)
    return next((f" ({remedy})" for remedy in found), "")


def entries_of(answer: Any) -> list[Any]:  # noqa: ANN401 - a map in RESP3, a list in RESP2
    """Return the [entry id, fields] pairs of a XREADGROUP on one stream."""
    if not answer:
        return []
    return next(iter(answer.values())) if isinstance(answer, dict) else answer[0][1]


class Connection:
    """One client of the broker, shared by all coroutines of a process.

    Raises:
        ConfigError: The settings name no broker that could be asked.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.address = address(settings)
        self.seconds = settings.timeout.total_seconds()
        self.places = Places(settings)
        self.cluster: ClusterLink | None = None
        self._link: Link | ClusterLink = Link(self.places.find, timeout=self.seconds)
        if settings.cluster:
            self._link = self.cluster = ClusterLink(self.places, timeout=self.seconds)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open for the body of an `async with`. Connects at the first command, not here."""
        connection = cls(settings)
        try:
            yield connection
        finally:
            connection._link.close()
            await connection.places.close()

    async def command(self, *args: Any) -> Any:  # noqa: ANN401 - whatever the command answers
        """Send one command and return its answer.

        Raises:
            BrokerDownError: No answer within `redis.timeout`.
            BrokerError: The broker refused the command.
        """
        with broker_errors(self.address):
            return await self._link.call(*args)

    async def many(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send several commands in one round trip (one a node in a Cluster)."""
        with broker_errors(self.address):
            return await self._link.calls(commands)

    async def script(self, sha: str, text: str, keys: tuple[str, ...], args: Any) -> Any:  # noqa: ANN401
        """Run a script by its digest; send its text where the broker does not know it yet."""
        with broker_errors(self.address):
            try:
                return await self._link.call("EVALSHA", sha, len(keys), *keys, *args)
            except exceptions.NoScriptError:
                return await self._link.call("EVAL", text, len(keys), *keys, *args)

    async def check(self) -> None:
        """Return when the broker answers and will keep what it is given.

        Raises:
            BrokerDownError: No answer.
            BrokerPolicyError: It is too old, or it evicts keys and `redis.allow_eviction` is off.
        """
        lines = (await self.command("INFO")).decode(errors="replace").splitlines()
        info = dict(line.split(":", 1) for line in lines if ":" in line)
        version = str(info.get("valkey_version") or info.get("redis_version") or "7.0")
        numbers = tuple(int(part) for part in version.split(".")[:2])
        if numbers < _OLDEST:
            raise BrokerPolicyError(
                f"the broker at {self.address} is version {version}: duly needs Redis 6.2 or "
                "newer, or Valkey"
            )
        if info.get("cluster_enabled") == "1" and not self.settings.cluster:
            raise BrokerPolicyError(
                f"the broker at {self.address} is a node of a Cluster: set redis.cluster: true"
            )
        policy = str(info.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction" and not self.settings.allow_eviction:
            raise BrokerPolicyError(
                f"the broker at {self.address} has maxmemory-policy {policy}: it may evict tasks. "
                "Set it to noeviction, or set redis.allow_eviction: true to accept the loss"
            )


@dataclass(slots=True)
class Reader:
    """A connection of its own for blocking reads of one stream."""

    connection: Connection
    key: str
    _wire: Wire | None = None
    _node: Node | None = None
    _client_id: int = 0

    async def read(self, group: str, consumer: str, *, count: int, block_ms: int) -> list[Any]:
        """Return up to `count` new entries as [entry id, [field, value, …]], none after the wait.

        Raises:
            BrokerDownError: The connection broke, or the answer is overdue.
            BrokerError: The command was refused; NOGROUP among others.
        """
        with broker_errors(self.connection.address):
            wire = self._wire
            if wire is None or wire.closed:
                wire = await self._connect()
            try:
                async with asyncio.timeout(block_ms / 1000 + self.connection.seconds):
                    answer = await wire.call((
                        "XREADGROUP", "GROUP", group, consumer, "COUNT", count,
                        "BLOCK", block_ms, "STREAMS", self.key, ">",
                    ))  # fmt: skip
            except (exceptions.AskError, exceptions.ReadOnlyError) as error:
                # The key has moved to another node, or the master to another server.
                self.close()
                if self.connection.cluster is not None:
                    self.connection.cluster.moved()
                raise exceptions.ConnectionError(str(error)) from error
            except exceptions.ResponseError:
                raise
            except BaseException:
                # The answer may still come: nobody else must read it from this connection.
                self.close()
                raise
        return entries_of(answer)

    async def interrupt(self) -> None:
        """Make a blocked `read` return at once."""
        if self._client_id:
            command = ("CLIENT", "UNBLOCK", self._client_id)
            cluster = self.connection.cluster
            if cluster is None or self._node is None:
                await self.connection.command(*command)
                return
            with broker_errors(self.connection.address):
                await cluster.at_node(self._node, *command)

    async def _connect(self) -> Wire:
        cluster = self.connection.cluster
        async with asyncio.timeout(self.connection.seconds):
            if cluster is None:
                place = await self.connection.places.find()
            else:
                self._node = await cluster.node_of(self.key)
                place = cluster.at(self._node)
            # Each read has its own deadline.
            self._wire = wire = await connect(place, _NEVER_OVERDUE)
            self._client_id = int(await wire.call(("CLIENT", "ID")))
        return wire

    def close(self) -> None:
        """Close the connection; the next `read` opens another."""
        wire, self._wire, self._node, self._client_id = self._wire, None, None, 0
        if wire is not None:
            wire.close()
