"""Gathers tasks that are added at the same time, so that they leave in one script each queue."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

from duly.engine.scripts import NewTask
from duly.engine.store import BATCH

Add = Callable[[str, list[NewTask]], Awaitable[list[int | str]]]
"""Adds tasks to a queue, each for itself; answers one item a task, as add.lua does."""
_MOST_BYTES = 1024 * 1024
"""Of one batch: a larger write would hold up whoever shares the connection."""
_Item = tuple[NewTask, "asyncio.Future[int | str]"]


class Gatherer:
    """Adds single tasks. Belongs to one loop.

    The first of a queue leaves at once, so that one awaited after the other costs nothing more.
    What comes while something is under way is gathered until the loop's next turn: a hundred
    coroutines that enqueue together are two scripts, not a hundred. Each has its own answer, and
    a caller that is cancelled takes nobody with it.
    """

    def __init__(self, add: Add) -> None:
        self._add = add
        self._under_way: Counter[str] = Counter()
        self._gathered: dict[str, list[_Item]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def add(self, queue: str, task: NewTask) -> int | str:
        """Add one task; return add.lua's answer for it."""
        if self._under_way[queue]:
            return await self._with_others(queue, task)
        self._under_way[queue] += 1
        try:
            (answer,) = await self._add(queue, [task])
        finally:
            self._under_way[queue] -= 1
        return answer

    def _with_others(self, queue: str, task: NewTask) -> "asyncio.Future[int | str]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int | str] = loop.create_future()
        gathered = self._gathered.get(queue)
        if gathered is None:
            gathered = self._gathered[queue] = []
            loop.call_soon(self._leave, queue)
        gathered.append((task, future))
        return future

    def _leave(self, queue: str) -> None:
        """Send what was gathered; not what its caller has given up meanwhile."""
        wanted = [item for item in self._gathered.pop(queue) if not item[1].done()]
        for batch in _batches(wanted):
            sending = asyncio.get_running_loop().create_task(self._send(queue, batch))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _send(self, queue: str, batch: list[_Item]) -> None:
        self._under_way[queue] += 1
        try:
            answers = await self._add(queue, [task for task, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to each caller
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        finally:
            self._under_way[queue] -= 1
            for _, future in batch:
                future.cancel()  # of those without an answer: the loop is being closed


def _batches(items: list[_Item]) -> Iterator[list[_Item]]:
    """Cut into batches that are not too much for one script."""
    batch, size = list[_Item](), 0
    for item in items:
        if batch and (len(batch) == BATCH or size + len(item[0].data) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += len(item[0].data)
    if batch:
        yield batch
