"""Blocking reads: each stream has its own connection for them."""

import asyncio
from typing import Any

from duly.engine.transport.connection import Connection, broker_errors
from duly.engine.transport.errors import (
    AskError,
    ConnectionLostError,
    MovedError,
    NotMasterError,
    OverdueError,
    ReplyError,
)
from duly.engine.transport.protocol import Wire, connect
from duly.engine.transport.slot_map import Node

_NEVER_OVERDUE = 24 * 3600.0
_LONGEST_BLOCK_MS = 2_000
"""A host that vanishes is noticed after this time plus `redis.timeout`."""
_REST = 0.05


def entries_of(answer: Any) -> list[Any]:  # noqa: ANN401 - a list, or nothing
    """Return the [entry id, fields] pairs of a XREADGROUP on one stream."""
    return answer[0][1] if answer else []


class Reader:
    """A connection of its own for blocking reads of one stream."""

    def __init__(self, connection: Connection, key: str) -> None:
        self._connection, self._key = connection, key
        self._wire: Wire | None = None
        self._node: Node | None = None
        self._client_id = 0
        connection.follow(self)

    async def read(self, group: str, consumer: str, *, count: int, block_ms: int) -> list[Any]:
        """Return up to `count` new entries as [entry id, [field, value, …]], none after the wait.

        Args:
            group: The consumer group.
            consumer: Who reads.
            count: Most entries.
            block_ms: Longest wait; two seconds at most, however long is asked for.

        Raises:
            BrokerDownError: The connection broke, or the reply is overdue.
            BrokerError: The command was refused; NOGROUP among others.
        """
        block_ms = min(block_ms, _LONGEST_BLOCK_MS)
        with broker_errors(self._connection.address):
            wire = self._wire
            if wire is None or wire.closed:
                wire = await self._connect()
            try:
                async with asyncio.timeout(block_ms / 1000 + self._connection.seconds):
                    answer = await wire.call((
                        "XREADGROUP", "GROUP", group, consumer, "COUNT", count,
                        "BLOCK", block_ms, "STREAMS", self._key, ">",
                    ))  # fmt: skip
            except MovedError as moved:
                await self._follow(moved)
                return []
            except ReplyError:
                raise
            except NotMasterError:
                if self._connection.cluster is None:
                    self._connection.leave()
                self._fail()
                raise
            except TimeoutError:
                self._fail()
                raise OverdueError(f"no reply within {self._connection.seconds:g} s") from None
            except BaseException:
                # The reply may still arrive, and nobody else must read it from this connection.
                self.close()
                raise
        return entries_of(answer)

    async def interrupt(self) -> None:
        """Make a blocked `read` return at once."""
        if self._client_id:
            command = ("CLIENT", "UNBLOCK", self._client_id)
            cluster = self._connection.cluster
            if cluster is None or self._node is None:
                await self._connection.command(*command)
                return
            with broker_errors(self._connection.address):
                await cluster.at_node(self._node, *command)

    def leave(self, node: Node | None) -> None:
        """Close the connection if it leads to this node of a Cluster; None: in any case."""
        if node is None or node == self._node:
            self.close()

    def close(self) -> None:
        """Close the connection; the next `read` opens another."""
        wire, self._wire, self._node, self._client_id = self._wire, None, None, 0
        if wire is not None:
            wire.close()

    async def _follow(self, moved: MovedError) -> None:
        """Read from another node from now on: the slot has moved, or is about to."""
        cluster, node = self._connection.cluster, self._node
        self.close()
        if cluster is not None and node is not None and not isinstance(moved, AskError):
            cluster.moved(moved, node)
        await asyncio.sleep(_REST)

    def _fail(self) -> None:
        """Leave a node that does not answer."""
        node, cluster = self._node, self._connection.cluster
        self.close()
        if cluster is None:
            self._connection.renew()
        elif node is not None:
            cluster.failed(node)

    async def _connect(self) -> Wire:
        cluster, seconds = self._connection.cluster, self._connection.connect_seconds
        try:
            async with asyncio.timeout(seconds):
                if cluster is None:
                    endpoint = await self._connection.endpoints.find()
                else:
                    self._node = await cluster.node_of(self._key)
                    endpoint = cluster.at(self._node)
                # Each read has its own deadline.
                wire = await connect(endpoint, _NEVER_OVERDUE)
                try:
                    self._client_id = int(await wire.call(("CLIENT", "ID")))
                except BaseException:
                    wire.close()
                    raise
        except TimeoutError:
            self._fail()
            raise OverdueError(f"no connection within {seconds:g} s") from None
        except ConnectionLostError:
            self._fail()
            raise
        self._wire = wire
        return wire
