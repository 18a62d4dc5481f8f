"""The connection to the broker that all coroutines of a process share: commands and scripts."""

import re
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from duly.engine.transport.cluster import ClusterLink
from duly.engine.transport.endpoints import Endpoints
from duly.engine.transport.errors import (
    AskError,
    LogInError,
    NoPermissionError,
    NoScriptError,
    NotMasterError,
    NotReadyError,
    OverdueError,
    ReplyError,
    TransportError,
    UnavailableError,
)
from duly.engine.transport.packing import Head
from duly.engine.transport.protocol import Caller, Link
from duly.engine.transport.slot_map import Node
from duly.errors import BrokerDownError, BrokerError, BrokerPolicyError, BrokerWriteError
from duly.runtime.settings import RedisSettings

_REMEDIES = {
    "db index is out of range": "check redis.db",
    "cluster support disabled": "it is no Cluster: leave redis.cluster out",
    "unknown command 'sentinel": "it is no sentinel: check redis.sentinel.nodes",
    "unknown command `sentinel": "it is no sentinel: check redis.sentinel.nodes",
    "wrongtype": "other software wrote that key: rename or delete it",
}
_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)
_OLDEST = (6, 2)


class broker_errors:  # noqa: N801 - used as contextlib's are
    """Turns the transport's errors into duly's public ones; `where` names the broker.

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
        """Raise duly's error in place of the transport's."""
        if isinstance(error, TransportError | OSError):
            raise_public(self._where, error)


def raise_public(where: str, error: TransportError | OSError) -> NoReturn:
    """Raise duly's error for one of the transport's."""
    if isinstance(error, LogInError):
        raise BrokerError(
            f"the broker at {where} refused the credentials: {error} "
            "(check redis.username and redis.password or password_file)"
        ) from None
    if isinstance(error, UnavailableError | OSError):
        timed_out = isinstance(error, TimeoutError | OverdueError)
        cause = str(error) or type(error).__name__
        answered = isinstance(error, NotReadyError)
        raise BrokerDownError(where, cause, timed_out=timed_out, answered=answered) from error
    if isinstance(error, ReplyError) and _refuses_writes(str(error)):
        raise BrokerWriteError(where, error) from error
    raise BrokerError(
        f"the broker at {where} refused a command: {error}{_remedy(error)}"
    ) from error


def _refuses_writes(message: str) -> bool:
    # Redis 6 puts the error of a command in a script into a longer message.
    return any(sign in message for sign in ("OOM ", "MISCONF ", "NOREPLICAS "))


def _remedy(error: TransportError) -> str:
    """Return what to do about an answer that a wrong setting brings about, or ""."""
    if isinstance(error, AskError):
        return " (it is a node of a Cluster: set redis.cluster: true)"
    message = str(error).lower()
    found = (remedy for sign, remedy in _REMEDIES.items() if sign in message)
    return next((f" ({remedy})" for remedy in found), "")


def info_of(answer: Any) -> dict[str, str]:  # noqa: ANN401 - whatever a server answers
    """Read the answer of INFO: what a node says of itself, by name; nothing if it is no such."""
    if not isinstance(answer, bytes):
        return {}
    lines = answer.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def demoted(error: Exception) -> bool:
    """Tell whether one of duly's errors means that the broker has become a replica."""
    return isinstance(error.__cause__, NotMasterError)


def refused(error: Exception) -> bool:
    """Tell whether one of duly's errors means that the broker ran this very call and refused it.

    Another call may fare better; the same one will not, until somebody has changed something.
    """
    return isinstance(error.__cause__, ReplyError) and not isinstance(error, BrokerWriteError)


class Follower(Protocol):
    """Has its own connection beside the shared one, and leaves a server when that one does."""

    def leave(self, node: Node | None) -> None:
        """Close the connection if it leads to this node of a Cluster; None: in any case."""


class Connection:
    """One client of the broker, shared by all coroutines of an event loop.

    Args:
        settings: The broker.
        endpoints: Where it is; None: as the settings say.

    Raises:
        ConfigError: The settings name no broker that could be asked.
    """

    def __init__(self, settings: RedisSettings, endpoints: Endpoints | None = None) -> None:
        self.settings = settings
        self.endpoints = Endpoints(settings, self.leave) if endpoints is None else endpoints
        self.address = str(self.endpoints)
        self.seconds = self.endpoints.address.timeout
        self.connect_seconds = self.endpoints.address.connect_timeout
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()
        self.cluster = self._new_cluster_link() if settings.cluster else None
        self._link: Caller = self.cluster or self._new_link()

    def _new_link(self) -> Caller:
        return Link(
            self.endpoints.find,
            timeout=self.seconds,
            connect_timeout=self.connect_seconds,
            on_demoted=self.leave,
        )

    def _new_cluster_link(self) -> ClusterLink:
        return ClusterLink(self.endpoints, on_failed=self._left)

    def follow(self, follower: Follower) -> None:
        """Make a follower leave every server that this connection leaves."""
        self._followers.add(follower)

    def leave(self) -> None:
        """Close every connection, because another server has become the master.

        The next command and the next read of each follower find the master anew.
        """
        self._link.close()
        self._left(None)

    def renew(self) -> None:
        """Make the next command open a new connection, unless a reply is pending on this one.

        A follower calls this when its own reply is overdue: a connection that has been idle may be
        just as dead, and would cost the next command `redis.timeout`.
        """
        if isinstance(self._link, Link):
            self._link.renew()

    def _left(self, node: Node | None) -> None:
        for follower in tuple(self._followers):
            follower.leave(node)

    async def check_role(self) -> None:
        """Leave a server that has become a replica, even if it still accepts writes.

        Raises:
            BrokerDownError: It has become a replica, or does not answer.
        """
        if self.cluster is not None:
            return
        with broker_errors(self.address):
            try:
                role = await self._link.call("ROLE")
            except NoPermissionError:
                return
            if isinstance(role, list) and role[:1] == [b"slave"]:
                self.leave()
                raise NotMasterError("the server has become a replica")

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open for the body of an `async with`. Connects at the first command, not here."""
        connection = cls(settings)
        try:
            yield connection
        finally:
            connection._link.close()
            await connection.endpoints.close()

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

    async def script(
        self,
        sha: str,
        text: str,
        keys: tuple[str, ...],
        args: Any,  # noqa: ANN401 - whatever the script takes
        head: Head | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the script answers
        """Run a script by its digest; send its text where the broker does not know it yet.

        Args:
            sha: The digest.
            text: The script.
            keys: Its keys.
            args: Its arguments.
            head: `EVALSHA` with all that comes before the last arguments; None: it is not packed.
        """
        try:
            try:
                if head is not None:
                    return await self._link.call(head, *args[len(head.words) - len(keys) - 3 :])
                return await self._link.call("EVALSHA", sha, len(keys), *keys, *args)
            except NoScriptError:
                return await self._link.call("EVAL", text, len(keys), *keys, *args)
        except (TransportError, OSError) as error:
            raise_public(self.address, error)

    async def check(self) -> None:
        """Return when the broker answers and will keep what it is given.

        Raises:
            BrokerDownError: No answer.
            BrokerPolicyError: It is too old, or it evicts keys and `redis.allow_eviction` is off.
        """
        info = info_of(await self.command("INFO"))
        version = str(info.get("valkey_version") or info.get("redis_version") or "")
        numbers = _VERSION.match(version)
        if numbers is not None and (int(numbers[1]), int(numbers[2])) < _OLDEST:
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
