"""Batches tasks that are added at the same time: they leave in one script for each queue."""

import asyncio
from collections.abc import Awaitable, Callable

from duly.engine.enqueue.adder import batches
from duly.engine.storage.scripts import NewTask
from duly.engine.transport.connection import refused

Add = Callable[[str, list[NewTask]], Awaitable[list[int | str]]]
"""Adds tasks to a queue, each by itself; answers one item a task, as add.lua does."""
_MOST_BYTES = 1024 * 1024
"""Of one batch: a larger write would delay everybody who shares the connection."""
_Item = tuple[NewTask, "asyncio.Future[int | str]"]


class Batcher:
    """Adds single tasks. Belongs to one loop.

    The first task of a queue leaves at once, so that enqueueing one after the other costs nothing
    more. What comes while a batch is under way is collected until the loop's next turn: a hundred
    coroutines that enqueue together need two scripts, not a hundred. Each gets its own answer, and
    a caller that is cancelled affects nobody else.
    """

    def __init__(self, add: Add) -> None:
        self._add = add
        self._under_way: dict[str, int] = {}
        self._collected: dict[str, list[_Item]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def add(self, queue: str, task: NewTask) -> int | str:
        """Add one task; return add.lua's answer for it."""
        under_way = self._under_way
        if under_way.get(queue):
            return await self._with_others(queue, task)
        under_way[queue] = 1
        try:
            (answer,) = await self._add(queue, [task])
        finally:
            under_way[queue] -= 1
        return answer

    def _with_others(self, queue: str, task: NewTask) -> "asyncio.Future[int | str]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int | str] = loop.create_future()
        collected = self._collected.get(queue)
        if collected is None:
            collected = self._collected[queue] = []
            loop.call_soon(self._leave, queue)
        collected.append((task, future))
        return future

    def _leave(self, queue: str) -> None:
        """Send what was collected, but not what its caller has given up meanwhile."""
        wanted = [item for item in self._collected.pop(queue) if not item[1].done()]
        for batch in batches(wanted, _size, _MOST_BYTES):
            sending = asyncio.get_running_loop().create_task(self._send(queue, batch))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _send(self, queue: str, batch: list[_Item]) -> None:
        self._under_way[queue] = self._under_way.get(queue, 0) + 1
        try:
            await self._answer(queue, batch)
        finally:
            self._under_way[queue] -= 1
            for _, future in batch:
                future.cancel()  # of those without an answer: the loop is being closed

    async def _answer(self, queue: str, batch: list[_Item]) -> None:
        """Answer each caller; where a batch is refused, its halves are sent by themselves."""
        try:
            answers = await self._add(queue, [task for task, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to each caller
            if len(batch) > 1 and refused(error):
                # A script that is refused has added nothing.
                middle = len(batch) // 2
                await self._answer(queue, batch[:middle])
                await self._answer(queue, batch[middle:])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


def _size(item: _Item) -> int:
    return len(item[0].data)
