"""On-demand maintenance: a worker promotes, reaps and delivers for its queues when there is need.

So an idle worker asks the broker for nothing beyond its heartbeats, however many workers there are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from duly.engine.enqueue.outbox import OutboxRelay
from duly.engine.maintenance.promoter import Promoter
from duly.engine.maintenance.reaper import Reaper
from duly.engine.storage.heartbeat_reply import HeartbeatReply
from duly.errors import BrokerDownError
from duly.runtime.loopfailures import LoopFailures
from duly.runtime.supervision import Supervisor, ends_the_loop

_PAUSE_AFTER_ERROR = 0.5


class OnDemandMaintenance:
    """Runs one queue's promoter, reaper and relay on demand. Belongs to the loop it was made on.

    Args:
        promoter: Promotes due tasks.
        reaper: Recovers the tasks of dead servers.
        relay: Delivers successors to other queues.
        horizon: A task due later than this is left to a later heartbeat.
        queue: Names the loops in the log and to the supervisor.
        supervisor: Fails `/livez` when a run takes longer than its bound; None: nobody watches.
    """

    def __init__(
        self,
        promoter: Promoter,
        reaper: Reaper,
        relay: OutboxRelay,
        *,
        horizon: timedelta,
        queue: str = "",
        supervisor: Supervisor | None = None,
    ) -> None:
        self._promoter, self._reaper, self._relay = promoter, reaper, relay
        self._horizon, self._queue, self._supervisor = horizon, queue, supervisor
        self._due, self._dead, self._post = asyncio.Event(), asyncio.Event(), asyncio.Event()
        # A worker that has died may have left something.
        self._post.set()
        self._log = structlog.get_logger("duly.engine")

    def heard(self, reply: HeartbeatReply) -> None:
        """Note what a heartbeat learned."""
        if reply.due_in_ms >= 0:
            self.due_in(timedelta(milliseconds=reply.due_in_ms))
        if reply.expired:
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
        """Look for dead servers and into the outbox, whether or not a heartbeat reported any."""
        self._dead.set()

    async def run(self) -> None:
        """Do what was noted, until cancelled. Errors are logged and retried."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._promote(self._failures("promoter")))
            group.create_task(self._reap(self._failures("reaper")))
            group.create_task(self._deliver(self._failures("outbox")))

    def _failures(self, kind: str) -> LoopFailures:
        return LoopFailures(f"{kind} {self._queue}".strip())

    async def _promote(self, failures: LoopFailures) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            rest = await self._do(self._promoter.run_once, failures, self._due)
            if rest is not None:
                self.due_in(rest)

    async def _reap(self, failures: LoopFailures) -> None:
        while True:
            await self._dead.wait()
            self._dead.clear()
            await self._do(self._reaper.run_once, failures, self._dead)
            self._post.set()

    async def _deliver(self, failures: LoopFailures) -> None:
        while True:
            await self._post.wait()
            self._post.clear()
            rest = await self._do(self._relay.run_once, failures, self._post)
            if rest == timedelta(0):
                self._post.set()

    async def _do(
        self,
        run_once: Callable[[], Awaitable[timedelta]],
        failures: LoopFailures,
        again: asyncio.Event,
    ) -> timedelta | None:
        """Run once; after an error set `again` soon, and return None."""
        try:
            with self._watched(failures.loop):
                rest = await run_once()
        except BrokerDownError as error:
            # The heartbeat reports the outage itself.
            self._log.debug(
                "Background loop failed, retrying", loop=failures.loop, error=str(error)
            )
        except BaseException as error:
            if ends_the_loop(error):
                raise
            failures.failed(error)
        else:
            failures.succeeded()
            return rest
        await asyncio.sleep(_PAUSE_AFTER_ERROR)
        again.set()
        return None

    @contextmanager
    def _watched(self, loop: str) -> Iterator[None]:
        if self._supervisor is None:
            yield
            return
        self._supervisor.beat(loop)
        try:
            yield
        finally:
            self._supervisor.forget(loop)
