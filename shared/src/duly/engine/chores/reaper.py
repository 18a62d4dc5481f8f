"""The reaper: takes the tasks of dead servers and makes them wait again."""

from collections.abc import Callable
from datetime import timedelta

import structlog

from duly.clock import to_ms
from duly.engine import limits
from duly.engine.reports import DeadLetter
from duly.engine.store import Store


class Reaper:
    """Looks for leases that have run out, also on a quiet queue.

    Any number of reapers may serve a queue: the script re-checks the lease, so a late heartbeat
    wins and no task is taken twice.

    Args:
        store: The transitions.
        queue: Its name.
        lease: How long a consumer without any lease must be idle to count as dead.
        every: How long to rest between two looks.
        on_recovered: Called with (queue, tasks that wait again, tasks quarantined).
        on_dead: Called with each task that was quarantined.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        *,
        lease: timedelta,
        every: timedelta = timedelta(seconds=1),
        on_recovered: Callable[[str, int, int], None] = lambda *_: None,
        on_dead: Callable[[DeadLetter], None] = lambda _: None,
    ) -> None:
        self._store, self._queue, self._lease, self._every = store, queue, lease, every
        self._on_recovered, self._on_dead = on_recovered, on_dead
        self._log = structlog.get_logger("duly.engine")

    async def turn(self) -> timedelta:
        """Look once; return how long to rest."""
        for server in await self._store.suspects(self._queue):
            back, letters = await self._store.reap(
                self._queue, server=server, lease_ms=to_ms(self._lease)
            )
            if back or letters:
                self._log.warning(
                    "Tasks of a dead server recovered",
                    queue=self._queue,
                    server=server[:200],
                    waiting=back,
                    quarantined=len(letters),
                )
                self._on_recovered(self._queue, back, len(letters))
                await limits.wake(self._store, self._queue)
            for letter in letters:
                self._on_dead(letter)
        return self._every
