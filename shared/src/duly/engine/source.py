"""Where a worker's tasks come from: one queue, or several by weight or in strict order."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

from duly.engine.delivery import Delivery
from duly.engine.store import Store, StreamReader
from duly.errors import BrokerError

_REST = 0.05
_AGAIN = 0.02
"""Seconds between two tries to end a wait."""
Deliveries = list[tuple[str, Delivery]]
"""(queue, task) pairs."""
LONGEST_BLOCK_MS = 5_000
_NO_WAIT_MS = 1
"""XREADGROUP takes BLOCK 0 for ever, so the shortest wait is a millisecond."""


class Source:
    """Reads at most as many tasks as there are free slots, and waits where there are none.

    With several queues it asks each without waiting, by weight (a heavier queue is more often
    first) or in strict order. Where all are empty it waits on all at once, for one task each;
    so it may return a few more tasks than asked for, never more than there are queues.

    A queue that is paused, or has no room left of its own, is not asked; whoever makes room says
    so by `look_again`, since the wait on the others would go on for seconds.

    Args:
        store: Where the queues are.
        queues: Queue name → weight.
        server: Whose tasks they become.
        strict: Ask the queues in their order.
        block_ms: Longest wait.
        paused: Tells of a queue whether nothing is to be taken of it.
        room: Tells how many more tasks of a queue may be taken; None: as many as are free.
        held: Tells the entries of a queue that this server knows it has.
        leased: Tells whether this server's lease stands.
    """

    def __init__(
        self,
        store: Store,
        queues: dict[str, int],
        *,
        server: str,
        strict: bool = False,
        block_ms: int = LONGEST_BLOCK_MS,
        paused: Callable[[str], bool] = lambda _: False,
        room: Callable[[str], int] | None = None,
        held: Callable[[str], frozenset[bytes]] = lambda _: frozenset(),
        leased: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leased = leased
        self._held = held
        self._lost = False
        self._queues, self._strict, self._paused = queues, strict, paused
        self._server, self._block_ms = server, block_ms
        self._room = room
        self._left_out = self._outdated = False
        self._changed = asyncio.Event()
        self._shaking: asyncio.Task[None] | None = None
        self._waits = False
        self._readers = {name: store.reader(name) for name in queues}

    async def next(self, free: int) -> Deliveries:
        """Return new tasks, now this server's; an empty list when the wait is over.

        Raises:
            BrokerDownError: Call again; what was delivered in vain is returned then.
        """
        if not self._leased():
            # Without a lease others may be given what we hold, so we take nothing. What a read
            # has brought meanwhile may be others' already: ask which of it is still ours.
            self._lost = True
            await asyncio.sleep(_REST)
            return []
        found = await (self.recover() if self._lost else self._next(free))
        if not self._leased():
            self._lost = True
            return []
        return found

    def lose(self) -> None:
        """Ask the broker at the next read what is this server's."""
        self._lost = True

    async def _next(self, free: int) -> Deliveries:
        self._outdated = False
        names = [name for name in self._order() if not self._paused(name)]
        if self._room is not None:
            names = [name for name in names if self._room(name) > 0]
        self._left_out = len(names) < len(self._queues)
        if not names:
            await self._rest()
            return []
        if len(names) == 1:
            count = free if self._room is None else min(free, self._room(names[0]))
            return await self._waiting(self._read(names[0], count, self._block_ms))
        found: Deliveries = []
        for name in names:
            if len(found) < free:
                count = free - len(found)
                if self._room is not None:
                    count = min(count, self._room(name))
                found += await self._read(name, count, _NO_WAIT_MS)
        if found or self._outdated:
            return found
        return await self._waiting(self._wait_for_any(names))

    def look_again(self) -> None:
        """End a wait that leaves a queue out: that queue may be asked again."""
        self._changed.set()
        if self._left_out:
            self.end_wait()

    def end_wait(self) -> None:
        """Make a `next` that waits return soon, so that it asks what is to be asked now."""
        self._outdated = True
        if self._waits and self._shaking is None:
            self._shaking = asyncio.get_running_loop().create_task(self._shake())

    async def _shake(self) -> None:
        # Again and again: a read that has only just been sent does not notice the first one, and
        # the next wait may be outdated too by the time that this one has ended.
        try:
            while self._outdated and self._waits:
                with contextlib.suppress(BrokerError):
                    await self.interrupt()
                await asyncio.sleep(_AGAIN)
        finally:
            self._shaking = None

    async def _waiting(self, wait: Coroutine[Any, Any, Deliveries]) -> Deliveries:
        """Wait, so that `end_wait` knows of it."""
        self._waits = True
        try:
            return await wait
        finally:
            self._waits = False

    async def _rest(self) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REST):
                await self._changed.wait()

    async def recover(self) -> Deliveries:
        """Return the tasks that are this server's although it never got to see them."""
        found: Deliveries = []
        for name, reader in self._readers.items():
            # Before the look: what is written meanwhile is in the answer, and held no more.
            held = self._held(name)
            pending = await reader.pending(server=self._server)
            found += [(name, delivery) for delivery in pending if delivery.entry not in held]
        self._lost = False
        return found

    async def interrupt(self) -> None:
        """Make a waiting `next` return at once."""
        for reader in self._readers.values():
            await reader.interrupt()

    async def close(self) -> None:
        """Close the connections."""
        for reader in self._readers.values():
            await reader.close()

    def _order(self) -> list[str]:
        """Return the queues in the order to ask them this time."""
        if self._strict or len(self._queues) == 1:
            return list(self._queues)
        # Each key is a weighted draw without replacement (Efraimidis and Spirakis, 2006).
        draw = {name: random.random() ** (1 / weight) for name, weight in self._queues.items()}  # noqa: S311
        return sorted(draw, key=draw.__getitem__, reverse=True)

    async def _read(self, name: str, count: int, block_ms: int) -> Deliveries:
        reader: StreamReader = self._readers[name]
        try:
            found = await reader.read(server=self._server, count=count, block_ms=block_ms)
        except BaseException:
            self._lost = True
            raise
        return [(name, delivery) for delivery in found]

    async def _wait_for_any(self, names: list[str]) -> Deliveries:
        """Wait on every queue at once; the first to answer ends the wait of the others."""
        failure: BrokerError | None = None
        reads = {asyncio.ensure_future(self._read(name, 1, self._block_ms)) for name in names}
        try:
            _, waiting = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
            while waiting:
                # Again and again: a read that is still connecting does not notice the first one.
                await self.interrupt()
                _, waiting = await asyncio.wait(reads, timeout=_AGAIN)
        except BaseException:
            for read in reads:
                read.cancel()
            raise
        found: Deliveries = []
        for read in reads:
            try:
                found += read.result()
            except BrokerError as error:
                self._lost = True
                if not found:
                    failure = error
        if not found and failure is not None:
            raise failure
        return found
