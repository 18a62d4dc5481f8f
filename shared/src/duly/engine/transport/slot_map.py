"""Which node of a Cluster serves which slot, to the best of a client's knowledge."""

import asyncio
import binascii
import random
from collections.abc import Callable, Coroutine, Iterable
from time import monotonic
from typing import Any

SLOTS = 16_384
_LAST_PORT = 65_535
_NEXT_ASKED_AFTER = 0.25
Node = tuple[str, int]
Ranges = list[tuple[int, int, list[Node]]]
"""(first slot, last slot, the nodes that have it, the master first)"""


def slot_of(key: str) -> int:
    """Return the slot of a key: of the part in braces, where it has one."""
    data = key.encode()
    start = data.find(b"{")
    end = data.find(b"}", start + 1) if start >= 0 else -1
    if end > start + 1:
        data = data[start + 1 : end]
    return binascii.crc_hqx(data, 0) % SLOTS


def ranges_in(answer: Any, asked: str) -> Ranges:  # noqa: ANN401 - whatever a server answers
    """Read the answer to CLUSTER SLOTS.

    Args:
        answer: The reply.
        asked: The host that was asked, which stands where a node does not know its own.

    Raises:
        ValueError: It is no such answer.
        TypeError: Likewise.
    """
    found: Ranges = []
    for first, last, *nodes in answer:
        on = [node_in(host or b"", port, asked) for host, port, *_ in nodes]
        if not on or not 0 <= int(first) <= int(last) < SLOTS:
            raise ValueError(f"no range of slots: {first!r} to {last!r}")
        found.append((int(first), int(last), on))
    return found


def node_in(host: Any, port: Any, asked: str) -> Node:  # noqa: ANN401 - likewise
    """Read host and port of an answer; errors and `asked` are those of `ranges_in`."""
    if not isinstance(host, bytes) or not isinstance(port, bytes | int):
        raise TypeError("no host and port")
    if not 0 <= int(port) <= _LAST_PORT:
        raise ValueError(f"no port: {port!r}")
    return host.decode() or asked, int(port)


class SlotMap:
    """The owners of all slots, and which nodes failed lately."""

    def __init__(self) -> None:
        self._owners: list[Node | None] = [None] * SLOTS
        self._masters: list[Node] = []
        self._known: list[Node] = []
        self._failures: dict[Node, float] = {}

    def owner(self, key: str | None) -> Node | None:
        """Return the node that serves a key, for None one that has not failed if possible.

        None: unknown.
        """
        if key is not None:
            return self._owners[slot_of(key)]
        standing = (node for node in self._masters if node not in self._failures)
        return next(standing, next(iter(self._masters), None))

    def owners(self) -> list[Node]:
        """Return every node that serves slots."""
        return sorted({owner for owner in self._owners if owner is not None})

    @property
    def is_whole(self) -> bool:
        """Whether the owner of every slot is known."""
        return None not in self._owners

    def move(self, slot: int, node: Node) -> None:
        """Remember the new owner of one slot."""
        self._owners[slot] = node

    def forget(self, node: Node) -> None:
        """Mark a node as failed: other nodes are asked first which node serves its slots."""
        self._failures[node] = monotonic()
        self._owners = [None if owner == node else owner for owner in self._owners]

    def answered(self, node: Node) -> None:
        """Remember that a node works again."""
        self._failures.pop(node, None)

    def failed(self, node: Node) -> None:
        """Remember that a node did not answer when it was asked for its map."""
        self._failures[node] = monotonic()

    def take(self, ranges: Ranges) -> set[Node]:
        """Take over a node's map; return the failed nodes that are no longer in it."""
        owners: list[Node | None] = [None] * SLOTS
        for first, last, nodes in ranges:
            owners[first : last + 1] = [nodes[0]] * (last + 1 - first)
        self._owners = owners
        self._masters = list(dict.fromkeys(nodes[0] for *_, nodes in ranges))
        self._known = list(dict.fromkeys(node for *_, nodes in ranges for node in nodes))
        gone = self._failures.keys() - set(self._known)
        for node in gone:
            del self._failures[node]
        return gone

    def to_ask(self, others: Iterable[Node]) -> list[Node]:
        """Return the nodes to ask for a map, those that failed last.

        Otherwise the order is random, because a node that is cut off has an old map.
        """
        nodes = list(dict.fromkeys([*self._known, *others]))
        random.shuffle(nodes)
        return sorted(nodes, key=lambda node: self._failures.get(node, 0.0))


async def largest_map(
    nodes: list[Node], ask: Callable[[Node], Coroutine[Any, Any, Ranges]]
) -> Ranges:
    """Return the first map that is whole, else the largest; empty where no node has one.

    Each node is asked shortly after the one before it, so a node that hangs delays nothing.

    Args:
        nodes: Whom to ask.
        ask: Returns the map of a node; empty if it has none or fails.
    """
    best: Ranges = []
    asked: set[asyncio.Task[Ranges]] = set()
    waiting: set[asyncio.Task[Ranges]] = set()
    rest = list(nodes)
    try:
        while (rest or waiting) and size_of(best) < SLOTS:
            if rest:
                task = asyncio.create_task(ask(rest.pop(0)))
                asked.add(task)
                waiting.add(task)
            done, waiting = await asyncio.wait(
                waiting,
                timeout=_NEXT_ASKED_AFTER if rest else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            best = max([best, *(task.result() for task in done)], key=size_of)
    finally:
        for task in asked:
            task.cancel()
    return best


def size_of(ranges: Ranges) -> int:
    """Return how many slots a map has."""
    return sum(last + 1 - first for first, last, _ in ranges)
