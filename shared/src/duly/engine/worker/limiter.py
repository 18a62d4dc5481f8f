"""Limits of kinds: acquires permits for many tasks at once, and returns them."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from time import monotonic
from typing import Any

import structlog

from duly.engine.middleware.barrier import log_failure
from duly.engine.storage import limits
from duly.engine.storage.scripts import Asking, Limit
from duly.engine.storage.store import Store
from duly.engine.transport.connection import refused
from duly.engine.worker.attempt import RunningAttempt
from duly.engine.worker.events import WorkerEvents
from duly.errors import BrokerError

_PAUSE = 0.2
_TRIES = 5
_ASK_TRIES = 25
"""Times that is asked for a permit before the task gives its slot to others: five seconds."""
_WARN_SECONDS = 60.0
_Group = tuple[str, str]
"""Queue and kind."""


class Limiter:
    """Admits tasks of limited kinds as their limits allow.

    A task that may not run is deferred in the broker, where it holds no slot of any server. It
    is woken when another one returns its permit, or is due when its token is.

    Args:
        store: Where permits and tokens are.
        events: Receives when a deferred task is due.
    """

    def __init__(self, store: Store, *, events: WorkerEvents) -> None:
        self._store, self._events = store, events
        self._log = structlog.get_logger("duly.engine")
        self._asking: defaultdict[
            tuple[_Group, Limit], list[tuple[RunningAttempt, asyncio.Future[int]]]
        ] = defaultdict(list)
        self.holding: dict[tuple[str, bytes], _Group] = {}
        """Entries of queues that hold a permit until their outcome is written."""
        self._calls: set[asyncio.Task[None]] = set()
        self._warned: dict[_Group, float] = {}

    async def acquire(self, running: RunningAttempt, limit: Limit) -> bool:
        """Return whether a task may run now; if not, this server no longer owns it.

        Waits for five seconds while the broker is unreachable.

        Raises:
            BrokerError: The broker was unreachable for longer, or refuses the question.
            Exception: The question failed for another reason than the broker.
        """
        group = running.queue, running.context.kind
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        together = self._asking[group, limit]
        together.append((running, answer))
        if len(together) == 1:
            self._spawn(self._ask(group, limit))
        if limit.most:
            # From now on: whatever becomes of it, the permit it may have got is given back.
            self.holding[running.queue, running.delivery.stream_id] = group
        wait_ms = await answer
        if wait_ms:
            self.holding.pop((running.queue, running.delivery.stream_id), None)
        if wait_ms > 0:
            self._events.task_due(running.queue, timedelta(milliseconds=wait_ms))
        return not wait_ms

    def settled(self, queue: str, stream_ids: Iterable[bytes]) -> None:
        """Return the permits of tasks whose outcome is written, or that were requeued."""
        free: defaultdict[_Group, list[bytes]] = defaultdict(list)
        for stream_id in stream_ids:
            group = self.holding.pop((queue, stream_id), None)
            if group is not None:
                free[group].append(stream_id)
        for group, given in free.items():
            self._spawn(self._give_back(group, given))

    async def answered(self, *, seconds: float) -> None:
        """Wait, so long at most, until it is known what was asked for: who got a token."""
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=seconds)

    async def close(self) -> None:
        """Wait until every permit is returned."""
        while self._calls:
            await asyncio.wait(set(self._calls))

    async def _ask(self, group: _Group, limit: Limit) -> None:
        # What is launched in one go asks in one go.
        await asyncio.sleep(0)
        asking = self._asking.pop((group, limit))
        tasks = [_asking(running) for running, _ in asking]
        try:
            found = await self._surely(group, limit, tasks)
        except BaseException as error:
            for _, answer in asking:
                if not answer.done():
                    answer.set_exception(error)
            if not isinstance(error, BrokerError):
                raise
            self._warn(group, error)
        else:
            for (running, answer), wait_ms in zip(asking, found, strict=True):
                # Also of one that nobody waits for any more: it is given back with its token.
                running.token = running.token or (not wait_ms and limit.every_us > 0)
                if not answer.done():
                    answer.set_result(wait_ms)

    async def _surely(self, group: _Group, limit: Limit, tasks: list[Asking]) -> list[int]:
        """Ask, and again for a while where the broker is unreachable."""
        for _ in range(_ASK_TRIES - 1):
            try:
                return await limits.ask(self._store, *group, limit, tasks)
            except BrokerError as error:
                if refused(error):
                    raise
            await asyncio.sleep(_PAUSE)
        return await limits.ask(self._store, *group, limit, tasks)

    def _warn(self, group: _Group, error: BrokerError) -> None:
        """Log once a minute that a kind's limit cannot be asked for."""
        now = monotonic()
        if now >= self._warned.get(group, 0.0) + _WARN_SECONDS:
            self._warned[group] = now
            self._log.error(
                "Limit cannot be asked for, tasks deferred",
                queue=group[0],
                kind=group[1],
                error=str(error),
            )

    async def _give_back(self, group: _Group, stream_ids: list[bytes]) -> None:
        """Return permits, which wakes others; if the broker stays unreachable, permits expire."""
        for _ in range(_TRIES):
            try:
                await limits.give_back(self._store, *group, stream_ids)
            except BrokerError:
                await asyncio.sleep(_PAUSE)
            else:
                return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._calls.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_failure(self._log, "Limits could not be asked", error)


def _asking(running: RunningAttempt) -> Asking:
    delivery = running.delivery
    return Asking(
        delivery.stream_id,
        running.message.task_id,
        delivery.tries,
        delivery.tries_with_token,
        delivery.has_token,
    )
