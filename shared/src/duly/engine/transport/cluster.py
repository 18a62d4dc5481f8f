"""A Cluster: a connection to each node that is needed, the map of slots, and redirections.

A command is sent again only when a node has said that it did not run it. A node that fails is asked
last for the map, and no slot counts as its own until another node says so.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from duly.engine.transport.endpoints import Endpoints
from duly.engine.transport.errors import (
    AskError,
    ClusterDownError,
    MovedError,
    NotReadyError,
    ReplyError,
    SlotMovingError,
    TransportError,
    UnavailableError,
)
from duly.engine.transport.packing import words_of
from duly.engine.transport.protocol import Caller, Endpoint, Link, shared
from duly.engine.transport.slot_map import Node, Ranges, SlotMap, largest_map, ranges_in

_MOST_REDIRECTIONS = 5
_LONGEST_PAUSE = 0.1
_KEYLESS = {"PING", "INFO", "CLIENT", "CLUSTER", "TIME"}


def key_of(args: Sequence[Any]) -> str | None:
    """Return the first key of one of the engine's commands; None: any node will do."""
    name = args[0]
    if name in _KEYLESS:
        return None
    place = 1
    if name in {"EVALSHA", "EVAL"}:
        place = 3
    elif name in {"XREADGROUP", "XREAD"}:
        place = list(args).index("STREAMS") + 1
    elif name in {"XGROUP", "XINFO", "OBJECT", "MEMORY"}:
        place = 2
    return cast("str", args[place])


class ClusterLink:
    """Sends each command to the node that serves its key.

    Args:
        endpoints: Where to begin, and how to greet a node.
        on_failed: Called with a node that did not answer or serves its slots no more.
    """

    def __init__(
        self, endpoints: Endpoints, *, on_failed: Callable[[Node], None] = lambda _: None
    ) -> None:
        self._endpoints, self._on_failed = endpoints, on_failed
        self._timeout = endpoints.address.timeout
        self._links: dict[Node, Caller] = {}
        self._map = SlotMap()
        self._failure: TransportError = ClusterDownError("no node serves any slot")
        self._mapping: asyncio.Task[None] | None = None

    async def call(self, *args: Any) -> Any:  # noqa: ANN401 - whatever the command answers
        """Send one command to the node of its key and return its reply."""
        args = words_of(args)
        key = key_of(args)
        node, asking, redirections, moving = await self.node_of(key), False, 0, 0
        while True:
            try:
                if asking:
                    return (await self._link(node).calls([("ASKING",), args]))[-1]
                return await self._link(node).call(*args)
            except AskError as ask:
                redirections += 1
                node, asking = (ask.host or node[0], ask.port), True
            except MovedError as moved:
                redirections += 1
                node, asking = self.moved(moved, node), False
            except SlotMovingError:
                moving = await self._pause(moving)
                node, asking = await self.node_of(key), False
            except UnavailableError as error:
                self._unavailable(node, error)
                raise
            if redirections > _MOST_REDIRECTIONS:
                raise ClusterDownError(f"{args[0]}: redirected {redirections} times")

    async def calls(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send several commands at once; raise the first error once all have answered."""
        sent = [asyncio.ensure_future(self.call(*command)) for command in commands]
        if sent:
            await asyncio.wait(sent)
        # Every error is looked at: asyncio complains of those that nobody saw.
        failed = [error for task in sent if (error := task.exception()) is not None]
        if failed:
            raise failed[0]
        return [task.result() for task in sent]

    async def node_of(self, key: str | None) -> Node:
        """Return the node that serves a key, any one for None; ask for the map where needed."""
        owner = self._map.owner(key)
        if owner is None:
            await self._refresh()
            owner = self._map.owner(key)
        if owner is None:
            raise ClusterDownError(f"no node serves the slot of {key}")
        return owner

    async def masters(self) -> list[Node]:
        """Return the nodes that serve slots, by host and port."""
        if not self._map.is_whole:
            await self._refresh()
        return self._map.owners()

    def at(self, node: Node) -> Endpoint:
        """Return where a node is and how to greet it."""
        return self._endpoints.at(*node)

    async def at_node(self, node: Node, *args: Any) -> Any:  # noqa: ANN401
        """Send a command to one node, whatever its key."""
        try:
            return await self._link(node).call(*args)
        except UnavailableError as error:
            self._unavailable(node, error)
            raise

    def failed(self, node: Node) -> None:
        """Leave a node that does not answer; the others are asked which node serves its slots."""
        self._map.forget(node)
        self._drop(node)
        self._on_failed(node)

    def moved(self, moved: MovedError, asked: Node) -> Node:
        """Record where a slot has moved; return the node that serves it."""
        node = (moved.host or asked[0], moved.port)
        self._map.move(moved.slot, node)
        return node

    def close(self) -> None:
        """Close every connection."""
        for link in self._links.values():
            link.close()
        if self._mapping is not None:
            self._mapping.cancel()

    def _unavailable(self, node: Node, error: UnavailableError) -> None:
        if isinstance(error, NotReadyError):
            # It answers, so the other commands sent to it are answered too.
            self._map.forget(node)
        else:
            self.failed(node)

    def _drop(self, node: Node) -> None:
        link = self._links.pop(node, None)
        if link is not None:
            link.close()

    def _link(self, node: Node) -> Caller:
        link = self._links.get(node)
        if link is None:

            async def find() -> Endpoint:
                return self.at(node)

            link = self._links[node] = self._new_link(find)
        return link

    def _new_link(self, find: Callable[[], Awaitable[Endpoint]]) -> Caller:
        seconds = self._endpoints.address.connect_timeout
        return Link(find, timeout=self._timeout, connect_timeout=seconds)

    async def _pause(self, times: int) -> int:
        """Wait for a slot that moves, within the time that a reply may take in all."""
        pauses = [min(0.01 * 2**number, _LONGEST_PAUSE) for number in range(times + 1)]
        if sum(pauses) > self._timeout:
            raise SlotMovingError(f"a slot has been moving for {self._timeout:g} s (TRYAGAIN)")
        await self._sleep(pauses[-1])
        return times + 1

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _refresh(self) -> None:
        """Fetch the map; concurrent callers share one request."""
        mapping = self._mapping
        if mapping is None:
            mapping = self._mapping = asyncio.ensure_future(self._ask())
            mapping.add_done_callback(self._refreshed)
        await shared(mapping)

    def _refreshed(self, mapping: "asyncio.Task[None]") -> None:
        self._mapping = None
        if not mapping.cancelled():
            mapping.exception()

    async def _ask(self) -> None:
        place = await self._endpoints.find()
        nodes = self._map.to_ask([*self._links, (place.host, place.port)])
        found = await self._largest(nodes)
        if not found:
            raise self._failure
        for node in self._map.take(found):
            self._drop(node)

    async def _largest(self, nodes: list[Node]) -> Ranges:
        return await largest_map(nodes, self._ranges_of)

    async def _slots(self, node: Node) -> Any:  # noqa: ANN401 - rows of CLUSTER SLOTS
        return await self._link(node).call("CLUSTER", "SLOTS")

    async def _ranges_of(self, node: Node) -> Ranges:
        """Return the map of one node; empty if it has none or does not answer."""
        try:
            ranges = await self._slots(node)
        except TransportError as error:
            self._failure = error
            self._map.failed(node)
            return []
        try:
            found = ranges_in(ranges, node[0])
        except (ValueError, TypeError):
            self._failure = ReplyError("its answer to CLUSTER SLOTS is no map of slots")
            self._map.failed(node)
            return []
        self._map.answered(node)
        return found
