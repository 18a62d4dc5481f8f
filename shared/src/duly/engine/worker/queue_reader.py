"""Reads one queue in the name of this server, whatever becomes of the other queues."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from duly.engine.storage.delivery import Delivery
from duly.engine.storage.store import StreamReader
from duly.engine.worker.events import WorkerEvents
from duly.engine.worker.received import Received, received
from duly.errors import BrokerError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds without a read after the first failure, and at most."""


class QueueReader:
    """One queue's reads: one at a time, with a pause after each that failed.

    What the broker hands out in an answer that never arrives belongs to this server all the same;
    so after a failure, and whenever `lost` is set, it has to ask what it owns.

    Args:
        queue: Its name.
        reader: Its connection.
        server: Whose tasks they become.
        held: Returns the stream ids of the queue that this server knows it has.
        events: Receives the broker's errors and answers.
        monotonic: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        queue: str,
        reader: StreamReader,
        *,
        server: str,
        held: Callable[[str], frozenset[bytes]],
        events: WorkerEvents,
        monotonic: Callable[[], float],
    ) -> None:
        self.queue = queue
        self.lost = False
        """Whether this server may own tasks of the queue that it does not know."""
        self._reader, self._server, self._held = reader, server, held
        self._events, self._monotonic = events, monotonic
        self._call = f"read {queue}"
        self._failures = 0
        self._resumes = 0.0
        self._task: asyncio.Task[list[Received]] | None = None
        self._interrupting: asyncio.Task[None] | None = None

    @property
    def rest(self) -> float:
        """Seconds for which the queue is not to be asked, after a failure; 0: it may be."""
        return max(0.0, self._resumes - self._monotonic()) if self._failures else 0.0

    @property
    def under_way(self) -> "asyncio.Task[list[Received]] | None":
        """The read that was begun and has not been taken yet."""
        return self._task

    async def read(self, count: int, block_ms: int) -> list[Received]:
        """Return new tasks, now this server's; none after the wait, or when the read failed."""
        read = self._reader.read(server=self._server, count=count, block_ms=block_ms)
        return [received(self.queue, delivery) for delivery in await self._answer(read)]

    async def recover(self) -> list[Received]:
        """Return the tasks that are this server's although it does not know them."""
        # Before asking: a loss that is noticed meanwhile needs a look of its own.
        self.lost = False
        # Before asking, too: what is written meanwhile is in the answer, and no longer held.
        held = self._held(self.queue)
        pending = await self._answer(self._reader.pending(server=self._server))
        return [
            received(self.queue, delivery) for delivery in pending if delivery.stream_id not in held
        ]

    def begin(self, work: Coroutine[Any, Any, list[Received]]) -> "asyncio.Task[list[Received]]":
        """Let a `read` or `recover` go on by itself; `take` returns what it has brought."""
        self._task = asyncio.get_running_loop().create_task(work)
        return self._task

    def take(self) -> list[Received]:
        """Return what the read that was begun has brought, once; nothing while it goes on."""
        task = self._task
        if task is None or not task.done():
            return []
        self._task = None
        return [] if task.cancelled() else task.result()

    def interrupt(self) -> "asyncio.Task[None]":
        """Make a waiting `read` return soon. A broker that hangs holds up nobody."""
        if self._interrupting is None or self._interrupting.done():
            self._interrupting = asyncio.get_running_loop().create_task(self._interrupt())
        return self._interrupting

    async def cancel(self) -> None:
        """Give up the read that is under way; what it was handed has to be recovered."""
        tasks = [task for task in (self._task, self._interrupting) if task is not None]
        self.lost = self.lost or self._task is not None
        self._task = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # looked at, since asyncio complains of those that are not

    async def close(self) -> None:
        """Close the connection."""
        await self.cancel()
        await self._reader.close()

    async def _answer(self, ask: Coroutine[Any, Any, list[Delivery]]) -> list[Delivery]:
        try:
            found = await ask
        except BrokerError as error:
            self.lost = True
            pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
            self._failures = min(self._failures + 1, 10)
            self._resumes = self._monotonic() + pause
            self._events.broker_failed(self._call, error)
            return []
        except BaseException:
            self.lost = True
            raise
        if self._failures:
            self._failures = 0
            self._events.broker_answered(self._call)
        return found

    async def _interrupt(self) -> None:
        try:
            await self._reader.interrupt()
        except BrokerError:
            return  # the read fails too, and says so
