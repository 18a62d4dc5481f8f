"""Subscriptions, on a connection of their own that is reopened whenever it breaks."""

import asyncio
from collections.abc import Callable

from duly.engine.transport.connection import Connection
from duly.engine.transport.errors import NoPermissionError, TransportError
from duly.engine.transport.slot_map import Node
from duly.engine.transport.subscriber import Subscriber, subscribe

_REST = 0.5


class Listener:
    """Listens to channels of one node.

    Args:
        connection: The broker.
        channels: What to listen to; in a Cluster at the node that serves the first of them.
        on_message: Called with the channel of each message, and with every channel once the
            connection is open, because messages published before were missed.
    """

    def __init__(
        self, connection: Connection, channels: tuple[str, ...], on_message: Callable[[str], None]
    ) -> None:
        self._connection, self._channels, self._on_message = connection, channels, on_message
        self._wire: Subscriber | None = None
        self._node: Node | None = None
        connection.follow(self)

    async def run(self, ping_every: float) -> None:
        """Listen until cancelled; return early only if the user may not use the channels.

        Args:
            ping_every: Seconds between two checks that the connection still works.
        """
        while True:
            try:
                self._wire = wire = await self._subscribe()
                for channel in self._channels:
                    self._on_message(channel)
                await wire.listen(ping_every)
            except NoPermissionError:
                return
            except (TransportError, OSError):
                self._fail()
            finally:
                self._close()
            await asyncio.sleep(_REST)

    def leave(self, node: Node | None) -> None:
        """Close the connection if it leads to this node of a Cluster; None: in any case."""
        if node is None or node == self._node:
            self._node = None
            self._close()

    async def _subscribe(self) -> Subscriber:
        connection = self._connection
        async with asyncio.timeout(connection.connect_seconds):
            if connection.cluster is None:
                endpoint = await connection.endpoints.find()
            else:
                self._node = await connection.cluster.node_of(self._channels[0])
                endpoint = connection.cluster.at(self._node)
            return await subscribe(endpoint, self._channels, self._heard, connection.seconds)

    def _heard(self, channel: str, _: str) -> None:
        self._on_message(channel)

    def _fail(self) -> None:
        node, self._node = self._node, None
        if node is not None and self._connection.cluster is not None:
            self._connection.cluster.failed(node)

    def _close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
