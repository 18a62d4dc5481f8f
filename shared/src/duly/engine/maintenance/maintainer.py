"""The maintainer: promotes, reaps and tidies every queue. Each scheduler replica runs one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self

import structlog

from duly.engine.enqueue.outbox import OutboxRelay
from duly.engine.maintenance.janitor import Janitor
from duly.engine.maintenance.promoter import Promoter
from duly.engine.maintenance.reaper import Reaper
from duly.engine.middleware import Hooks, Middleware
from duly.engine.storage.decoding import texts
from duly.engine.storage.keys import QUEUES
from duly.engine.storage.store import Store
from duly.job import is_name
from duly.runtime.service import Outage, RunOnce, repeat
from duly.runtime.settings import ArchiveSettings, RedisSettings
from duly.runtime.supervision import Supervisor

_LOOK_FOR_QUEUES = timedelta(seconds=10)
_REST = timedelta(seconds=1)
_MOST_SHOWN = 10
"""Names in one line of the log."""


class Maintainer:
    """Keeps all queues in order, also those that no worker serves. Any number may run.

    Each queue has loops of its own: what fails in one of them delays no other.

    Args:
        store: The broker.
        lease: As the servers have it.
        bounds: How many dead letters are kept.
        on_recovered: Called with (queue, tasks that wait again, quarantined) after a reap.
        on_error: Called with the name of a loop for each unexpected error in it.
        middlewares: Learn of tasks whose servers died once too often.
        outage: Logs when the broker is unreachable; None: one of its own.
        supervisor: Watches the loops; None: nobody does.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease: timedelta = timedelta(seconds=10),
        bounds: ArchiveSettings | None = None,
        on_recovered: Callable[[str, int, int], None] = lambda *_: None,
        on_error: Callable[[str], None] = lambda _: None,
        middlewares: Iterable[Middleware] = (),
        outage: Outage | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._store, self._lease, self._bounds = store, lease, bounds
        self._on_recovered, self._on_error = on_recovered, on_error
        self._hooks = Hooks(middlewares)
        self._outage, self._supervisor = outage or Outage(), supervisor
        self._loops: dict[str, list[asyncio.Task[None]]] = {}
        self._ignored: set[str] = set()
        self._log = structlog.get_logger("duly.engine")

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: RedisSettings,
        *,
        lease: timedelta = timedelta(seconds=10),
        bounds: ArchiveSettings | None = None,
        on_recovered: Callable[[str, int, int], None] = lambda *_: None,
        on_error: Callable[[str], None] = lambda _: None,
        middlewares: Iterable[Middleware] = (),
        outage: Outage | None = None,
        supervisor: Supervisor | None = None,
    ) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, and close them after it.

        Takes the settings of the broker, and what the class takes.
        """
        async with Store.open(settings) as store:
            yield cls(
                store,
                lease=lease,
                bounds=bounds,
                on_recovered=on_recovered,
                on_error=on_error,
                middlewares=middlewares,
                outage=outage,
                supervisor=supervisor,
            )

    async def run(self, stop: asyncio.Event) -> None:
        """Maintain all queues until `stop` is set, through outages of the broker and failures."""
        async with asyncio.TaskGroup() as group:
            await self._repeat("look for queues", lambda: self._look(group, stop), stop)

    async def _look(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> timedelta:
        """Start the loops of new queues, end those of removed ones; return how long to rest."""
        listed = texts(await self._store.connection.command("SMEMBERS", QUEUES))
        names = {name for name in listed if is_name(name)}
        self._ignore(set(listed) - names)
        for queue in self._loops.keys() - names:
            for task in self._loops.pop(queue):
                task.cancel()
        for queue in names - self._loops.keys():
            self._loops[queue] = [
                group.create_task(self._repeat(f"{kind} {queue}", run_once, stop))
                for kind, run_once in self._kinds(queue)
            ]
        return _LOOK_FOR_QUEUES if names else _REST

    def _ignore(self, junk: set[str]) -> None:
        """Warn once of each name that is none of a queue."""
        new = sorted(junk - self._ignored)
        self._ignored = junk
        if new:
            self._log.warning(
                "Names in duly:queues ignored, they name no queue",
                names=new[:_MOST_SHOWN],
                count=len(new),
            )

    async def _repeat(self, name: str, run_once: RunOnce, stop: asyncio.Event) -> None:
        await repeat(
            run_once,
            name=name,
            every=_REST,
            stop=stop,
            outage=self._outage,
            on_error=lambda _: self._on_error(name),
            supervisor=self._supervisor,
        )

    def _kinds(self, queue: str) -> list[tuple[str, RunOnce]]:
        reaper = Reaper(
            self._store,
            queue,
            lease=self._lease,
            on_recovered=self._on_recovered,
            on_dead=self._hooks.dead_lettered,
        )
        return [
            ("promoter", Promoter(self._store, queue).run_once),
            ("reaper", reaper.run_once),
            ("outbox", OutboxRelay(self._store, queue).run_once),
            ("janitor", Janitor(self._store, queue, bounds=self._bounds).run_once),
        ]
