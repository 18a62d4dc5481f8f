"""The connection to the broker for code without an event loop: as `Connection`, but it blocks.

Its methods are coroutines like those of `Connection`, so that whatever is written over one runs
over the other; they are run by `turns.finished`.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from time import monotonic, sleep
from typing import Any

from typing_extensions import override

from duly.engine.transport.blocking_wire import BlockingWire, open_wire
from duly.engine.transport.cluster import ClusterLink
from duly.engine.transport.connection import Connection, broker_errors
from duly.engine.transport.endpoints import Endpoints
from duly.engine.transport.errors import (
    ConnectionLostError,
    NotMasterError,
    OverdueError,
    TransportError,
)
from duly.engine.transport.protocol import CLOSED, Caller, Endpoint
from duly.engine.transport.slot_map import SLOTS, Node, Ranges, size_of
from duly.engine.transport.turns import turn
from duly.errors import DulyError
from duly.runtime.settings import RedisSettings

_FIRST_PATIENCE = 0.25
"""Seconds that each node has to send its map, before any is given the whole timeout."""
_LEAST_SECONDS = 0.001


class BlockingEndpoints(Endpoints):
    """Finds the servers for all threads of a process.

    Sentinels are listened to in a loop of its own thread, which begins when they are first asked.
    """

    def __init__(self, settings: RedisSettings, on_moved: Callable[[], None]) -> None:
        super().__init__(settings, on_moved)
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @override
    async def find(self) -> Endpoint:
        if self._sentinels is None:
            return await super().find()
        seconds = self.address.connect_timeout
        asked: Future[Endpoint] = asyncio.run_coroutine_threadsafe(super().find(), self._started())
        try:
            return asked.result(seconds)
        except TimeoutError:
            asked.cancel()
            raise OverdueError(f"no connection within {seconds:g} s") from None
        except CancelledError:
            raise ConnectionLostError(CLOSED) from None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="duly-sentinels", daemon=True
                )
                self._thread.start()
            return self._loop

    def end(self) -> None:
        """Stop listening to the sentinels."""
        with self._starting:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _close(self) -> None:
        await self.close()
        asking = asyncio.all_tasks() - {asyncio.current_task()}
        for task in asking:
            task.cancel()
        if asking:
            await asyncio.wait(asking)


class BlockingLink:
    """A wire that connects when needed, and reconnects after a failure.

    Args:
        find: Returns where the server is; asked again for each connection.
        timeout: Seconds that a reply may take.
        connect_timeout: Seconds that a connection may take.

    Attributes:
        opened: How many connections it has opened.
    """

    def __init__(
        self, find: Callable[[], Awaitable[Endpoint]], *, timeout: float, connect_timeout: float
    ) -> None:
        self._find, self._timeout, self._connect_timeout = find, timeout, connect_timeout
        self._wire: BlockingWire | None = None
        self.opened = 0
        self._left = 0
        self._ended = False

    async def call(self, *args: Any) -> Any:  # noqa: ANN401 - whatever the command answers
        """Send one command and return its reply."""
        wire = self._wire
        if wire is None or not wire.is_usable():
            wire = await self._connect()
        sent = wire.send(args)
        await turn()
        try:
            return wire.receive(sent)
        except NotMasterError:
            # A failover made this server a replica: the next call asks for the new master.
            wire.close()
            raise

    async def calls(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send several commands at once; raise the first error once all have answered."""
        wire = self._wire
        if wire is None or not wire.is_usable():
            wire = await self._connect()
        sent = [wire.send(command) for command in commands]
        await turn()
        replies: list[Any] = []
        failed: list[TransportError] = []
        for one in sent:
            try:
                replies.append(wire.receive(one))
            except TransportError as error:
                failed.append(error)
        if any(isinstance(error, NotMasterError) for error in failed):
            wire.close()
        if failed:
            raise failed[0]
        return replies

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._wire is not None:
            self._wire.close()

    def leave(self, *, end: bool = False) -> None:
        """Fail the call that is under way. From any thread.

        Args:
            end: Let no other connection be opened.
        """
        self._left += 1
        self._ended = self._ended or end
        if self._wire is not None:
            self._wire.interrupt()

    def abandon(self) -> None:
        """Close a forked process's share of the connection."""
        self._ended = True
        if self._wire is not None:
            self._wire.abandon()

    async def _connect(self) -> BlockingWire:
        deadline, left = monotonic() + self._connect_timeout, self._left
        self.close()
        if self._ended:
            raise DulyError("the client was closed: it is not known whether the call succeeded")
        endpoint = await self._find()
        seconds = max(_LEAST_SECONDS, deadline - monotonic())
        wire = self._wire = open_wire(endpoint, self._timeout, seconds)
        self.opened += 1
        if left != self._left:  # another thread has said meanwhile that this is not the place
            wire.interrupt()
        return wire


class BlockingClusterLink(ClusterLink):
    """Sends each command to the node that serves its key, and waits for the reply."""

    @override
    async def calls(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        return [await self.call(*command) for command in commands]

    def links(self) -> list[BlockingLink]:
        """Return the links to all nodes that were needed."""
        return [link for link in tuple(self._links.values()) if isinstance(link, BlockingLink)]

    @override
    def _new_link(self, find: Callable[[], Awaitable[Endpoint]]) -> Caller:
        address = self._endpoints.address
        return BlockingLink(find, timeout=address.timeout, connect_timeout=address.connect_timeout)

    @override
    async def _sleep(self, seconds: float) -> None:
        sleep(seconds)  # noqa: ASYNC251 - there is no loop

    @override
    async def _refresh(self) -> None:
        await self._ask()

    @override
    async def _largest(self, nodes: list[Node]) -> Ranges:
        """Return the first map that is whole, else the largest; a node that hangs delays little."""
        best: Ranges = []
        for patience in (_FIRST_PATIENCE, self._timeout):
            for node in nodes:
                self._patience = patience
                best = max(best, await self._ranges_of(node), key=size_of)
                if size_of(best) == SLOTS:
                    return best
            if best:
                return best
        return best

    @override
    async def _slots(self, node: Node) -> Any:
        wire = open_wire(self.at(node), self._patience, self._patience)
        try:
            return wire.call(("CLUSTER", "SLOTS"))
        finally:
            wire.close()


class BlockingConnection(Connection):
    """One client of the broker, used by one thread at a time.

    Args:
        settings: The broker.
        endpoints: Where it is; shared by the connections of a process.
    """

    def __init__(self, settings: RedisSettings, endpoints: BlockingEndpoints) -> None:
        super().__init__(settings, endpoints)

    @override
    def leave(self) -> None:
        """Leave the server, because another one has become the master. From any thread."""
        for link in self._links():
            link.leave()

    def end(self) -> None:
        """Fail the call that is under way, and let none begin. From any thread."""
        for link in self._links():
            link.leave(end=True)

    @property
    def opened(self) -> int:
        """How many connections it has opened, to all nodes."""
        return sum(link.opened for link in self._links())

    async def synced(self, key: str) -> bool:
        """Wait until the node of a key has on its disk what was written on this connection.

        Returns:
            False: not within half of the timeout.

        Raises:
            BrokerError: It cannot say: it is older than version 7.2, or has no append-only file.
        """
        command = ("WAITAOF", 1, 0, int(self.seconds * 500))
        with broker_errors(self.address):
            if self.cluster is None:
                answer = await self._link.call(*command)
            else:
                answer = await self.cluster.at_node(await self.cluster.node_of(key), *command)
        return bool(answer[0])

    def close(self) -> None:
        """Close every connection. By the thread that uses it."""
        for link in self._links():
            link.close()

    def abandon(self) -> None:
        """Close a forked process's share of its parent's connections."""
        for link in self._links():
            link.abandon()

    def _links(self) -> list[BlockingLink]:
        link = self._link
        if isinstance(link, BlockingClusterLink):
            return link.links()
        return [link] if isinstance(link, BlockingLink) else []

    @override
    def _new_link(self) -> Caller:
        return BlockingLink(
            self.endpoints.find, timeout=self.seconds, connect_timeout=self.connect_seconds
        )

    @override
    def _new_cluster_link(self) -> ClusterLink:
        return BlockingClusterLink(self.endpoints)
