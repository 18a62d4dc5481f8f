"""A Cluster: a connection to each node that is needed, the map of slots, and redirections.

redis-py's client repeats commands by itself, and an error of one command breaks those beside it:
a hundred coroutines that began at once ended in AttributeError. Here a command is sent again only
when a node has said that it did not run it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from redis import exceptions
from redis.crc import key_slot

from duly.engine.places import Places
from duly.engine.wire import Link, Place

_SLOTS = 16_384
_MOST_REDIRECTIONS = 5
_STALE = (exceptions.ConnectionError, exceptions.ClusterDownError, OSError, TimeoutError)
_KEYLESS = {"PING", "INFO", "PUBLISH", "CLIENT", "CLUSTER", "TIME"}
Node = tuple[str, int]


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
        places: Where to begin, and how to greet a node.
        timeout: Seconds that a connection or a reply may take.
    """

    def __init__(self, places: Places, *, timeout: float) -> None:
        self._places, self._timeout = places, timeout
        self._links: dict[Node, Link] = {}
        self._owners: list[Node | None] = []
        self._mapping = asyncio.Lock()

    async def call(self, *args: Any) -> Any:  # noqa: ANN401 - whatever the command answers
        """Send one command to the node of its key and return its reply."""
        node = await self.node_of(key_of(args))
        asking = False
        for _ in range(_MOST_REDIRECTIONS):
            try:
                if asking:
                    return (await self._link(node).calls([("ASKING",), args]))[-1]
                return await self._link(node).call(*args)
            except exceptions.MovedError as moved:
                node, asking = self._moved(moved, node), False
            except exceptions.AskError as ask:
                node, asking = (ask.host or node[0], ask.port), True
            except _STALE:
                self._owners = []
                raise
        raise exceptions.ClusterDownError(f"{args[0]}: redirected {_MOST_REDIRECTIONS} times")

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
        owners = self._owners or await self._mapped()
        slot = 0 if key is None else key_slot(key.encode())
        owner = owners[slot] or next(filter(None, owners), None)
        if owner is None:
            self._owners = []
            raise exceptions.ClusterDownError("no node serves any slot")
        return owner

    async def masters(self) -> list[Node]:
        """Return the nodes that serve slots, by host and port."""
        owners = self._owners or await self._mapped()
        return sorted({owner for owner in owners if owner is not None})

    def at(self, node: Node) -> Place:
        """Return where a node is and how to greet it."""
        return self._places.at(*node)

    async def at_node(self, node: Node, *args: Any) -> Any:  # noqa: ANN401
        """Send a command to one node, whatever its key."""
        return await self._link(node).call(*args)

    def moved(self) -> None:
        """Ask for the map again at the next command: a node said that it is out of date."""
        self._owners = []

    def close(self) -> None:
        """Close every connection."""
        for link in self._links.values():
            link.close()

    def _link(self, node: Node) -> Link:
        link = self._links.get(node)
        if link is None:

            async def find() -> Place:
                return self.at(node)

            link = self._links[node] = Link(find, timeout=self._timeout)
        return link

    def _moved(self, moved: exceptions.MovedError, asked: Node) -> Node:
        node = (moved.host or asked[0], int(moved.port))
        if self._owners:
            self._owners[moved.slot_id] = node
        return node

    async def _mapped(self) -> list[Node | None]:
        """Return the map; ask for it once, however many want it."""
        async with self._mapping:
            if not self._owners:
                self._owners = await self._map()
            return self._owners

    async def _map(self) -> list[Node | None]:
        """Return the owner of each slot, as the first node tells that answers."""
        place = await self._places.find()
        start = (place.host, place.port)
        failure: Exception = exceptions.ClusterDownError("no node of the cluster answers")
        for node in dict.fromkeys([*self._links, start]):
            try:
                ranges = await self._link(node).call("CLUSTER", "SLOTS")
            except _STALE as error:
                failure = error
                continue
            owners: list[Node | None] = [None] * _SLOTS
            for first, last, (host, port, *_), *_ in ranges:
                owner = ((host or b"").decode() or node[0], int(port))
                owners[first : last + 1] = [owner] * (last + 1 - first)
            return owners
        raise failure
