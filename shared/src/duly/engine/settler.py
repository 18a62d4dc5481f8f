"""Writes what became of tasks, in batches, and never gives up while the broker is away."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import cast

from duly.engine.keys import queue_keys
from duly.engine.reports import DeadLetter
from duly.engine.scripts import Settlement, Success, follow
from duly.engine.store import BATCH, Store
from duly.errors import BrokerError
from duly.task import TaskState

_LONGEST_PAUSE = timedelta(seconds=1)
_Succeeded = tuple[bytes, str, str, str, bool]
"""Entry, task id, kind, lock, and whether it had failed or crashed before."""


class Settler:
    """Collects the outcomes of one queue's tasks; `run` writes them.

    While one batch is on its way the next one grows, so batches are as large as the load.

    Args:
        store: Where they are written.
        queue: Its name.
        on_written: Called with the entries of each batch once it is written.
        on_refused: Called with the entries whose outcome was refused, because this server had
            lost its lease and somebody else runs them. Not called after a repeated write, where a
            refusal only means that the first one had arrived.
        on_posted: Called when successors for other queues lie in the queue's outbox.
        on_left_out: Called with how many successors were refused for a taken id or lock.
        on_error: Called with each error of the broker; the write is repeated until it succeeds.
        on_dead: Called with each task that was given up, once that is written.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        *,
        on_written: Callable[[Sequence[bytes]], None] = lambda _: None,
        on_refused: Callable[[list[bytes]], None] = lambda _: None,
        on_posted: Callable[[], None] = lambda: None,
        on_left_out: Callable[[int], None] = lambda _: None,
        on_error: Callable[[BrokerError], None] = lambda _: None,
        on_dead: Callable[[DeadLetter], None] = lambda _: None,
    ) -> None:
        self._store, self._queue = store, queue
        self._on_posted, self._on_left_out = on_posted, on_left_out
        self._on_written, self._on_dead = on_written, on_dead
        self._on_refused, self._on_error = on_refused, on_error
        self._successes: list[_Succeeded] = []
        self._settlements: list[Settlement] = []
        self._followed: list[Success] = []
        self._wake = asyncio.Event()
        self._closed = False

    def succeeded(self, entry: bytes, task_id: str, kind: str, lock: str, dirty: bool) -> None:  # noqa: FBT001 - the hot path
        """Note that a task succeeded. `dirty`: it had failed or crashed before."""
        self._successes.append((entry, task_id, kind, lock, dirty))
        self._wake.set()

    def settle(self, settlement: Settlement) -> None:
        """Note any other outcome."""
        self._settlements.append(settlement)
        self._wake.set()

    def follow(self, success: Success) -> None:
        """Note that a task succeeded that has successors."""
        self._followed.append(success)
        self._wake.set()

    @property
    def backlog(self) -> int:
        """Outcomes not written yet."""
        return len(self._successes) + len(self._settlements) + len(self._followed)

    async def run(self) -> None:
        """Write outcomes as they come, until closed and everything is written."""
        while not (self._closed and not self.backlog):
            await self._wake.wait()
            self._wake.clear()
            # Let the receiver ask for the next tasks first: the broker then works on this batch
            # while they run already.
            await asyncio.sleep(0)
            await self.flush()

    def close(self) -> None:
        """Let `run` end once everything is written."""
        self._closed = True
        self._wake.set()

    async def flush(self) -> None:
        """Write everything noted so far; repeat while the broker is away. Not beside `run`."""
        while self.backlog:
            await self._write_successes()
            await self._write_settlements()
            if self._followed:
                await self._write_followed()

    async def _write_successes(self) -> None:
        batch, self._successes = self._successes, []
        for start in range(0, len(batch), BATCH):
            entries, ids, kinds, locks, dirty = zip(*batch[start : start + BATCH], strict=True)
            write = partial(
                self._store.finish,
                self._queue,
                entries=entries,
                ids=ids,
                kinds=kinds,
                locks=locks,
                dirty=any(dirty),
            )
            await self._persist(write)
            self._on_written(entries)

    async def _write_settlements(self) -> None:
        batch, self._settlements = self._settlements, []
        for start in range(0, len(batch), BATCH):
            part = batch[start : start + BATCH]

            async def write(part: list[Settlement] = part) -> list[bytes]:
                return await self._store.settle(self._queue, part)

            refused = await self._persist(write)
            self._on_written([settlement.entry for settlement in part])
            self._tell(part, refused)

    async def _write_followed(self) -> None:
        batch, self._followed = self._followed, []
        while batch:
            part = _batch(batch)
            batch = batch[len(part) :]

            async def write(part: list[Success] = part) -> list[bytes]:
                refused, left_out, posted = await self._store.run(
                    follow(queue_keys(self._queue), part, now_ms=self._store.now_ms())
                )
                if left_out:
                    self._on_left_out(left_out)
                # What is refused may have been posted by a first write whose answer was lost.
                if posted or refused:
                    self._on_posted()
                return cast("list[bytes]", refused)

            await self._persist(write)
            self._on_written([success.entry for success in part])

    def _tell(self, settled: list[Settlement], refused: list[bytes]) -> None:
        """Tell of the tasks that have been given up; not of those that others run by now."""
        for item in settled:
            if item.reason and item.entry not in refused:
                letter = DeadLetter(
                    queue=self._queue,
                    task_id=item.id,
                    kind=item.kind,
                    state=TaskState(item.verdict),
                    reason=item.reason,
                )
                self._on_dead(letter)

    async def _persist(self, write: Callable[[], Awaitable[list[bytes]]]) -> list[bytes]:
        """Write one batch; try again, ever less often, until it is written.

        Returns the entries refused; none after a repeated write, whose refusals say nothing.
        """
        pause, repeated = timedelta(milliseconds=50), False
        while True:
            try:
                refused = await write()
            except BrokerError as error:
                self._on_error(error)
            else:
                if repeated:
                    return []
                if refused:
                    self._on_refused(refused)
                return refused
            repeated = True
            await asyncio.sleep(pause.total_seconds())
            pause = min(pause * 2, _LONGEST_PAUSE)


def _batch(successes: list[Success]) -> list[Success]:
    """Return the first that make one script: one at least, more where there is room."""
    size = 0
    for place, success in enumerate(successes):
        size += 1 + len(success.successors)
        if place and size > BATCH:
            return successes[:place]
    return successes
