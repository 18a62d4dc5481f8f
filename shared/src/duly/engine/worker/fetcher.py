"""Where a worker's tasks come from: one queue, or several by weight or in strict order."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

from duly.engine.storage.store import Store
from duly.engine.worker.events import WorkerEvents
from duly.engine.worker.queue_reader import QueueReader
from duly.engine.worker.received import Received

_REST = 0.05
_AGAIN = 0.02
"""Seconds between two tries to end a wait."""
_PATIENCE = 0.25
"""Seconds after which a queue whose broker does not answer holds up the others no longer."""
_STOP_SECONDS = 2.0
"""Longest time that a stop waits for the broker to say what this server owns."""
LONGEST_BLOCK_MS = 5_000
_SHORT_BLOCK_MS = 500
"""Longest wait while some queue is to be asked again after a failure."""
_NO_WAIT_MS = 1
"""XREADGROUP takes BLOCK 0 for ever, so the shortest wait is a millisecond."""


class Fetcher:
    """Reads at most as many tasks as there are free slots, and waits where there are none.

    With several queues it asks each without waiting, by weight (a heavier queue is more often
    first) or in strict order. Where all are empty it waits on all at once, for one task each;
    so it may return a few more tasks than asked for, never more than there are queues. A queue
    whose broker fails, or does not answer, is asked again by itself; the others go on.

    A queue that is paused, or has no room left of its own, is not asked; whoever makes room calls
    `look_again`, since the wait on the others would go on for seconds.

    Args:
        store: Where the queues are.
        queues: Queue name → weight.
        server: Whose tasks they become.
        strict: Ask the queues in their order.
        block_ms: Longest wait.
        paused: Tells of a queue whether nothing is to be taken of it.
        room: Tells how many more tasks of a queue may be taken; None: as many as are free.
        held: Returns the stream ids of a queue that this server knows it has.
        leased: Tells of a queue whether this server's lease stands.
        events: Receives the broker's errors and answers.
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
        leased: Callable[[str], bool] = lambda _: True,
        events: WorkerEvents | None = None,
    ) -> None:
        self._queues, self._strict, self._block_ms = queues, strict, block_ms
        self._paused, self._room, self._leased = paused, room, leased
        self._left_out = self._outdated = False
        self._changed = asyncio.Event()
        self._shaking: asyncio.Task[None] | None = None
        self._waits = False
        self._readers = {
            name: QueueReader(
                name,
                store.reader(name),
                server=server,
                held=held,
                events=events or WorkerEvents(),
                monotonic=monotonic,
            )
            for name in queues
        }

    async def next(self, free: int) -> list[Received]:
        """Return new tasks, now this server's; an empty list when the wait is over.

        The broker's errors are not raised but reported: what was delivered in vain is returned
        later.
        """
        for name, reader in self._readers.items():
            if not self._leased(name):
                # Without a lease others may be given what we hold, so we take nothing. What a
                # read has brought meanwhile may be others' already: ask which of it is ours.
                reader.lost = True
        found = await self.recover()
        if not found:
            found = await self._next(free)
        return self._leased_only(found)

    @property
    def has_lost(self) -> bool:
        """Whether some queue can be asked for tasks that this server owns and does not know."""
        return any(self._may_recover(reader) for reader in self._readers.values())

    def lose(self, queue: str) -> None:
        """Ask the broker at the next read which tasks of a queue are this server's."""
        self._readers[queue].lost = True

    async def recover(self) -> list[Received]:
        """Return the tasks that are this server's although it does not know them.

        Each queue is asked by itself; those that do not answer are asked again later.
        """
        lost = [reader for reader in self._readers.values() if self._may_recover(reader)]
        if not lost:
            return []
        await self._patiently([reader.begin(reader.recover()) for reader in lost])
        return self._leased_only([task for reader in lost for task in reader.take()])

    async def _next(self, free: int) -> list[Received]:
        self._outdated = False
        found = [task for reader in self._readers.values() for task in reader.take()]
        names = [name for name in self._order() if self._leased(name) and not self._paused(name)]
        if self._room is not None:
            names = [name for name in names if self._room(name) > 0]
        resting = any(self._readers[name].rest for name in names)
        ready = [name for name in names if self._is_ready(self._readers[name])]
        self._left_out = len(ready) < len(self._queues)
        if found:
            return found
        if not ready:
            await self._rest()
            return []
        block_ms = min(self._block_ms, _SHORT_BLOCK_MS) if resting else self._block_ms
        if len(self._queues) == 1:
            count = self._count(ready[0], free)
            return await self._waiting(self._readers[ready[0]].read(count, block_ms))
        for name in ready:
            if len(found) < free:
                reader = self._readers[name]
                count = self._count(name, free - len(found))
                await self._patiently([reader.begin(reader.read(count, _NO_WAIT_MS))])
                found += reader.take()
        if found or self._outdated:
            return found
        waiting = [reader for name in ready if self._is_ready(reader := self._readers[name])]
        return await self._waiting(self._wait_for_any(waiting, free, block_ms))

    def _count(self, name: str, free: int) -> int:
        return free if self._room is None else min(free, self._room(name))

    @staticmethod
    def _is_ready(reader: QueueReader) -> bool:
        return reader.under_way is None and not reader.rest

    def _may_recover(self, reader: QueueReader) -> bool:
        return reader.lost and self._is_ready(reader) and self._leased(reader.queue)

    def _leased_only(self, found: list[Received]) -> list[Received]:
        """Return what may be run; what was read without a lease has to be asked for again."""
        lost = {name for name in {task.queue for task in found} if not self._leased(name)}
        for name in lost:
            self._readers[name].lost = True
        return [task for task in found if task.queue not in lost] if lost else found

    def look_again(self) -> None:
        """End a wait that leaves a queue out: that queue may be asked again."""
        self._changed.set()
        if self._left_out:
            self.end_wait()

    def end_wait(self) -> None:
        """Make a `next` that waits return soon, so that it asks what is to be asked now."""
        self._outdated = True
        self._changed.set()
        if self._waits and self._shaking is None:
            self._shaking = asyncio.get_running_loop().create_task(self._shake())

    async def _shake(self) -> None:
        # Again and again: a read that has only just been sent does not notice the first one, and
        # the next wait may be outdated too by the time that this one has ended.
        try:
            while self._outdated and self._waits:
                await self.interrupt()
                await asyncio.sleep(_AGAIN)
        finally:
            self._shaking = None

    async def _waiting(self, wait: Coroutine[Any, Any, list[Received]]) -> list[Received]:
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

    async def interrupt(self) -> None:
        """Make a waiting `next` return soon."""
        await self._patiently([reader.interrupt() for reader in self._readers.values()])

    async def stop(self) -> list[Received]:
        """Give up the reads that are under way; return what this server owns and does not know."""
        readers = list(self._readers.values())
        for reader in readers:
            await reader.cancel()
        asking = [reader.begin(reader.recover()) for reader in readers]
        await asyncio.wait(asking, timeout=_STOP_SECONDS)
        return [task for reader in readers for task in reader.take()]

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

    @staticmethod
    async def _patiently(tasks: "Sequence[asyncio.Task[Any]]") -> None:
        """Wait for tasks, not for one whose broker hangs: that one goes on by itself."""
        if tasks:
            await asyncio.wait(tasks, timeout=_PATIENCE)

    async def _wait_for_any(
        self, readers: Sequence[QueueReader], free: int, block_ms: int
    ) -> list[Received]:
        """Wait on every queue at once; the first to answer ends the wait of the others."""
        count = 1 if len(readers) > 1 else free
        for reader in readers:
            reader.begin(reader.read(self._count(reader.queue, count), block_ms))
        # Those that hung before are among them: their answers are to be noticed too.
        begun = [reader for reader in self._readers.values() if reader.under_way is not None]
        tasks = {reader.under_way for reader in begun if reader.under_way is not None}
        if not tasks:
            return []
        _, waiting = await asyncio.wait(
            tasks, timeout=block_ms / 1000 + _PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        ends = monotonic() + _PATIENCE
        while waiting and monotonic() < ends:
            # Again and again: a read that is still connecting does not notice the first one.
            for reader in begun:
                if reader.under_way in waiting:
                    reader.interrupt()
            _, waiting = await asyncio.wait(waiting, timeout=_AGAIN)
        return [task for reader in begun for task in reader.take()]
