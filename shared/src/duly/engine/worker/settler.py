"""Writes what became of tasks, in batches, and does not give up while the broker is unreachable."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar, cast

import structlog

from duly.engine.middleware import Hooks
from duly.engine.storage.keys import queue_keys
from duly.engine.storage.reports import DeadLetter
from duly.engine.storage.scripts import Settlement, Success, complete_with_successors
from duly.engine.storage.store import BATCH, Store
from duly.engine.transport.connection import refused
from duly.engine.worker.events import WorkerEvents
from duly.engine.worker.holdings import Holdings
from duly.engine.worker.refused_outcomes import RefusedOutcomes, Unwritten
from duly.errors import BrokerError
from duly.runtime.supervision import Beat, unwatched
from duly.task import TaskState

_LONGEST_PAUSE = timedelta(seconds=1)
_Succeeded = tuple[bytes, str, str, str, bool]
"""Entry, task id, kind, lock, and whether it had failed or crashed before."""
_Outcome = TypeVar("_Outcome", _Succeeded, Settlement, Success)
_Write = Callable[[Sequence[_Outcome]], Awaitable[list[bytes]]]
"""Writes outcomes in one script; returns the stream ids that are no longer this server's."""


class Settler:
    """Collects the outcomes of one queue's tasks; `run` writes them.

    While one batch is on its way the next one grows, so batches are as large as the load. Where
    the broker refuses a batch, its halves are written by themselves, and so on: what it refuses
    alone is set aside and tried again ever less often, and the others do not wait for it.

    Args:
        store: Where they are written.
        queue: Its name.
        holdings: Lets go of tasks once their outcome is written.
        hooks: Called with each task that was given up, once that is written.
        events: Receives the broker's errors, after which a write is repeated until it succeeds,
            and when successors for other queues lie in the outbox.
    """

    def __init__(
        self, store: Store, queue: str, holdings: Holdings, *, hooks: Hooks, events: WorkerEvents
    ) -> None:
        self._store, self._queue, self._holdings = store, queue, holdings
        self._hooks, self._events = hooks, events
        self._call = f"settle {queue}"
        self._log = structlog.get_logger("duly.engine")
        self._successes: list[_Succeeded] = []
        self._settlements: list[Settlement] = []
        self._followed: list[Success] = []
        self.refused = RefusedOutcomes(queue)
        self._wake = asyncio.Event()
        self._beat: Beat = unwatched
        self._closed = False

    def succeeded(self, stream_id: bytes, task_id: str, kind: str, lock: str, dirty: bool) -> None:  # noqa: FBT001 - the hot path
        """Note that a task succeeded. `dirty`: it had failed or crashed before."""
        self._successes.append((stream_id, task_id, kind, lock, dirty))
        self._wake.set()

    def settle(self, settlement: Settlement) -> None:
        """Note any other outcome."""
        self._settlements.append(settlement)
        self._wake.set()

    def follow(self, success: Success) -> None:
        """Note that a task with successors succeeded."""
        self._followed.append(success)
        self._wake.set()

    @property
    def backlog(self) -> int:
        """Outcomes not written yet, those apart that the broker refuses."""
        return len(self._successes) + len(self._settlements) + len(self._followed)

    def wake(self) -> None:
        """Let `run` look whether there is something to write."""
        self._wake.set()

    async def run(self, beat: Beat = unwatched) -> None:
        """Write outcomes as they come, until closed and everything is written.

        Args:
            beat: Called whenever it moves, and before each try to write.
        """
        self._beat = beat
        if self.backlog:
            self._wake.set()
        while not (self._closed and not self.backlog):
            beat()
            await self._wake.wait()
            self._wake.clear()
            # Let the receiver ask for the next tasks first: the broker then works on this batch
            # while they run already.
            await asyncio.sleep(0)
            await self.flush()
            await self._try_refused()
        if self.refused:
            await self._try_refused(now=True)
            self.refused.give_up()

    def close(self) -> None:
        """Let `run` end once everything is written."""
        self._closed = True
        self._wake.set()

    async def flush(self) -> None:
        """Write all that was noted; retry while the broker is unreachable. Not beside `run`.

        What is noted stays noted until it is written, whatever ends this.
        """
        while self.backlog:
            await self._write_successes(len(self._successes))
            await self._write_settlements(len(self._settlements))
            await self._write_followed(len(self._followed))

    async def _write_successes(self, left: int) -> None:
        while left > 0:
            part = self._successes[: min(left, BATCH)]
            await self._write(part, self._complete)
            del self._successes[: len(part)]
            left -= len(part)

    async def _write_settlements(self, left: int) -> None:
        while left > 0:
            part = self._settlements[: min(left, BATCH)]
            await self._write(part, self._settle)
            del self._settlements[: len(part)]
            left -= len(part)

    async def _write_followed(self, left: int) -> None:
        while left > 0:
            part = _batch(self._followed[:left])
            await self._write(part, self._complete_with_successors)
            del self._followed[: len(part)]
            left -= len(part)

    async def _write(self, part: Sequence[_Outcome], write: _Write[_Outcome]) -> bool:
        """Write outcomes and let go of their tasks; tell whether the broker has taken them all.

        What it refuses even by itself is set aside.
        """
        try:
            lost = await self._persist(partial(write, part))
        except BrokerError as error:
            if len(part) == 1:
                self._set_aside(part, write, error)
            else:
                middle = len(part) // 2
                await self._write(part[:middle], write)
                await self._write(part[middle:], write)
            return False
        named = [_named(outcome) for outcome in part]
        self._holdings.release(self._queue, [stream_id for stream_id, _, _ in named])
        if self._hooks.waits_for_broker:
            self._hooks.settled(self._queue, [task_id for _, task_id, _ in named])
        self._report_dead(part, lost)
        return True

    def _set_aside(
        self, part: Sequence[_Outcome], write: _Write[_Outcome], error: BrokerError
    ) -> None:
        again = partial(self._write, part, write)
        unwritten = Unwritten(*_named(part[0]), str(error), self._store.now_ms(), again)
        seconds = self.refused.add(unwritten)
        asyncio.get_running_loop().call_later(seconds, self._wake.set)

    async def _try_refused(self, *, now: bool = False) -> None:
        """Write what was refused, when it is time; the first of those alike decides for all."""
        for alike in self.refused.due(now=now):
            for unwritten in alike:
                if not await unwritten.write():
                    break
                self.refused.written(unwritten)

    async def _complete(self, part: Sequence[_Succeeded]) -> list[bytes]:
        stream_ids, ids, kinds, locks, dirty = zip(*part, strict=True)
        return await self._store.complete(
            self._queue,
            stream_ids=stream_ids,
            ids=ids,
            kinds=kinds,
            locks=locks,
            dirty=any(dirty),
        )

    async def _settle(self, part: Sequence[Settlement]) -> list[bytes]:
        return await self._store.settle(self._queue, part)

    async def _complete_with_successors(self, part: Sequence[Success]) -> list[bytes]:
        lost, left_out, posted = await self._store.run(
            complete_with_successors(queue_keys(self._queue), part, now_ms=self._store.now_ms())
        )
        if left_out:
            self._log.warning(
                "Successors not enqueued: duplicate id or lock held",
                queue=self._queue,
                successors=left_out,
            )
        # What was lost may have been posted by a first write whose answer was lost.
        if posted or lost:
            self._events.outbox_filled(self._queue)
        return cast("list[bytes]", lost)

    def _report_dead(self, written: Sequence[_Outcome], lost: list[bytes]) -> None:
        """Report tasks that were given up, except those that other servers own by now."""
        if not isinstance(written[0], Settlement):
            return
        if any(item.join for item in written):
            self._events.outbox_filled(self._queue)
        for item in written:
            if item.reason and item.stream_id not in lost:
                letter = DeadLetter(
                    queue=self._queue,
                    task_id=item.id,
                    kind=item.kind,
                    state=TaskState(item.destination),
                    reason=item.reason,
                )
                self._hooks.dead_lettered(letter)

    async def _persist(self, write: Callable[[], Awaitable[list[bytes]]]) -> list[bytes]:
        """Write one batch; retry with a growing pause until it is written.

        Returns the stream ids that are no longer this server's; none after a repeated write, which
        finds that of what the first one wrote.

        Raises:
            BrokerError: The broker has refused it, as it would again.
        """
        pause, repeated = timedelta(milliseconds=50), False
        while True:
            self._beat()
            try:
                lost = await write()
            except BrokerError as error:
                if refused(error):
                    if repeated:
                        self._events.broker_answered(self._call)
                    raise
                self._events.broker_failed(self._call, error)
            else:
                if repeated:
                    self._events.broker_answered(self._call)
                    return []
                if lost:
                    self._log.warning(
                        "Outcomes refused: the lease had expired",
                        queue=self._queue,
                        tasks=len(lost),
                    )
                return lost
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


def _named(outcome: _Succeeded | Settlement | Success) -> tuple[bytes, str, str]:
    """Return the stream id, the task's id and its kind."""
    if isinstance(outcome, tuple):
        return outcome[:3]
    return outcome.stream_id, outcome.id, outcome.kind
