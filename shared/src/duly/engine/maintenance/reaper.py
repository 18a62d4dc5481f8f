"""The reaper: takes the tasks of dead servers and makes them wait again."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import structlog

from duly.clock import to_ms
from duly.engine.maintenance.steps import take_each
from duly.engine.storage import limits
from duly.engine.storage.reports import DeadLetter
from duly.engine.storage.store import Store
from duly.errors import BrokerError


class Reaper:
    """Looks for expired leases, also on an idle queue.

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

    async def run_once(self) -> timedelta:
        """Look once; return how long to rest.

        Raises:
            BrokerError: The first one, after every other server was looked at.
        """
        expired = await self._store.expired_leases(self._queue, lease_ms=to_ms(self._lease))
        await take_each(partial(self._reap, server) for server in expired)
        return self._every

    async def _reap(self, server: bytes) -> None:
        requeued, dead, problem = await self._store.reap(
            self._queue, server=server, lease_ms=to_ms(self._lease)
        )
        if requeued or dead:
            self._log.warning(
                "Tasks of a dead server recovered",
                queue=self._queue,
                server=server[:200].decode(errors="replace"),
                waiting=requeued,
                quarantined=len(dead),
            )
            self._on_recovered(self._queue, requeued, len(dead))
        for dead_letter in dead:
            self._log.error(
                "Task quarantined",
                queue=self._queue,
                task_id=dead_letter.task_id[:256],
                kind=dead_letter.kind,
                reason=dead_letter.reason,
            )
            self._on_dead(dead_letter)
        if problem:
            raise BrokerError(f"tasks of a dead server cannot be quarantined: {problem}")
        if requeued or dead:
            await limits.release_free_permits(self._store, self._queue)
