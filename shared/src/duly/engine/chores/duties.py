"""A worker's duties to its queues: moved, reaped and sent on when there is need.

So an idle worker asks the broker nothing beside its heartbeats, however many workers there are.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from duly.engine.chores.mover import Mover
from duly.engine.chores.reaper import Reaper
from duly.engine.courier import Courier
from duly.engine.store import Pulse
from duly.errors import BrokerError

_PAUSE_AFTER_ERROR = 0.5


class Duties:
    """Runs one queue's mover, reaper and courier on demand. Belongs to the loop it was made on.

    Args:
        mover: Moves due tasks.
        reaper: Recovers the tasks of dead servers.
        courier: Brings successors to other queues.
        horizon: A task due later than this is left to a later heartbeat.
    """

    def __init__(
        self, mover: Mover, reaper: Reaper, courier: Courier, *, horizon: timedelta
    ) -> None:
        self._mover, self._reaper, self._courier = mover, reaper, courier
        self._horizon = horizon
        self._due, self._dead, self._post = asyncio.Event(), asyncio.Event(), asyncio.Event()
        # A worker that has died may have left something.
        self._post.set()
        self._log = structlog.get_logger("duly.engine")

    def heard(self, pulse: Pulse) -> None:
        """Note what a heartbeat learnt."""
        if pulse.due_in_ms >= 0:
            self.due_in(timedelta(milliseconds=pulse.due_in_ms))
        if pulse.expired:
            self._dead.set()

    def due_in(self, wait: timedelta) -> None:
        """Note that some task is due after `wait`."""
        if wait <= self._horizon:
            loop = asyncio.get_running_loop()
            loop.call_later(max(0.0, wait.total_seconds()), self._due.set)

    def posted(self) -> None:
        """Note that something lies in the outbox."""
        self._post.set()

    def look(self) -> None:
        """Look for dead servers and in the outbox, though nobody has told of any."""
        self._dead.set()

    async def run(self) -> None:
        """Do what was noted, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._move())
            group.create_task(self._reap())
            group.create_task(self._send())

    async def _move(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            rest = await self._do(self._mover.turn, "mover", self._due)
            if rest is not None:
                self.due_in(rest)

    async def _reap(self) -> None:
        while True:
            await self._dead.wait()
            self._dead.clear()
            await self._do(self._reaper.turn, "reaper", self._dead)
            self._post.set()

    async def _send(self) -> None:
        while True:
            await self._post.wait()
            self._post.clear()
            rest = await self._do(self._courier.turn, "courier", self._post)
            if rest == timedelta(0):
                self._post.set()

    async def _do(
        self, turn: Callable[[], Awaitable[timedelta]], name: str, again: asyncio.Event
    ) -> timedelta | None:
        """Take a turn; after an error take another one soon."""
        try:
            return await turn()
        except BrokerError as error:
            self._log.debug("Chore failed, trying on", chore=name, error=str(error))
        except Exception:  # noqa: BLE001 - logged, and a worker needs its chores
            self._log.exception("Chore failed, trying on", chore=name)
        await asyncio.sleep(_PAUSE_AFTER_ERROR)
        again.set()
        return None
