"""Adds prepared tasks to a queue, and finds out what became of them when the answer is lost."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from duly.engine.enqueue.declared_queues import DeclaredQueues
from duly.engine.enqueue.request import accepted
from duly.engine.storage.scripts import NewTask, group_add
from duly.engine.storage.store import BATCH, Store
from duly.errors import BrokerDownError

MOST_BYTES = 16 * 1024 * 1024
"""Of the tasks of one script: more would hold up the broker's other clients."""
_Answers = list[int | str]
_Send = Callable[[str, list[NewTask], bool], Awaitable[_Answers]]
_ItemT = TypeVar("_ItemT")


class Adder:
    """Adds batches to queues. Tasks of a group that are due enter it, each for itself."""

    def __init__(self, store: Store, queues: DeclaredQueues) -> None:
        self._store, self._queues = store, queues

    async def add(self, queue: str, batch: list[NewTask], *, whole: bool = False) -> _Answers:
        """Add a batch (see `batches`); return one answer a task, as add.lua does.

        Where the connection breaks it is tried once more, with what the broker has not got yet.

        Args:
            queue: Where to.
            batch: The tasks.
            whole: All or none of those that do not enter a group.

        Raises:
            BrokerDownError: It is not known whether they were added.
        """
        for task in batch:
            if task.group is not None and not task.due_ms:
                return await self._add_apart(queue, batch, whole=whole)
        try:
            return await self._enter(queue, batch, whole)
        except BrokerDownError as error:
            return await self._again(error, self._enter, queue, batch, whole=whole)

    async def _add_apart(self, queue: str, batch: list[NewTask], *, whole: bool) -> _Answers:
        """Add those that join a group, and the others."""
        joining = [task for task in batch if task.group is not None and not task.due_ms]
        joined = iter(await self._surely(self._join, queue, joining, whole=False))
        ids = {id(task) for task in joining}
        others = [task for task in batch if id(task) not in ids]
        rest = iter(await self._surely(self._enter, queue, others, whole=whole) if others else [])
        return [next(joined if id(task) in ids else rest) for task in batch]

    async def _surely(
        self, send: _Send, queue: str, batch: list[NewTask], *, whole: bool
    ) -> _Answers:
        try:
            return await send(queue, batch, whole)
        except BrokerDownError as error:
            return await self._again(error, send, queue, batch, whole=whole)

    async def _again(
        self, error: BrokerDownError, send: _Send, queue: str, batch: list[NewTask], *, whole: bool
    ) -> _Answers:
        """Send what the broker has not got; the first answer was lost."""
        if error.timed_out:
            raise error
        self._store.forget(queue)
        present = await self._store.present(queue, [task.id for task in batch])
        if whole and any(present):
            # All or none: those that are missing have been run already.
            return [accepted(task) for task in batch]
        missing = [task for task, there in zip(batch, present, strict=True) if not there]
        later = iter(await send(queue, missing, whole) if missing else [])
        return [
            accepted(task) if there else next(later)
            for task, there in zip(batch, present, strict=True)
        ]

    # A plain function, since each coroutine on the way is felt by whoever enqueues one task after
    # the other.
    def _enter(self, queue: str, batch: list[NewTask], whole: bool) -> Awaitable[_Answers]:  # noqa: FBT001 - as _Send
        return self._store.add(queue, batch, max_length=self._queues.max_length(queue), whole=whole)

    async def _join(self, queue: str, batch: list[NewTask], _: bool) -> _Answers:  # noqa: FBT001 - as _Send
        keys = await self._store.register(queue)
        call = group_add(keys, batch, max_length=self._queues.max_length(queue))
        found = await self._store.run(call)
        return [item if isinstance(item, int) else item.decode() for item in found]


def batches(
    items: Iterable[_ItemT], size_of: Callable[[_ItemT], int], most_bytes: int = MOST_BYTES
) -> Iterator[list[_ItemT]]:
    """Cut tasks into batches that are not too much for one script: 500, and so many bytes."""
    batch, size = list[_ItemT](), 0
    for item in items:
        item_size = size_of(item)
        if batch and (len(batch) == BATCH or size + item_size > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item_size
    if batch:
        yield batch
