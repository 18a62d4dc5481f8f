"""The housekeeper: moves, reaps and tidies every queue. Run by each scheduler replica."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self

from duly.engine.chores.janitor import Janitor
from duly.engine.chores.mover import Mover
from duly.engine.chores.reaper import Reaper
from duly.engine.courier import Courier
from duly.engine.keys import QUEUES
from duly.engine.middleware import Hooks, Middleware
from duly.engine.replies import texts
from duly.engine.store import Store
from duly.runtime.service import Outage, Turn, repeat
from duly.runtime.settings import ArchiveSettings, RedisSettings

_LOOK_FOR_QUEUES = timedelta(seconds=10)
_REST = timedelta(seconds=1)


class Housekeeper:
    """Keeps all queues in order, also those that no worker serves. Any number may run."""

    def __init__(
        self,
        store: Store,
        *,
        lease: timedelta = timedelta(seconds=10),
        bounds: ArchiveSettings | None = None,
        on_recovered: Callable[[str, int, int], None] = lambda *_: None,
        middlewares: Iterable[Middleware] = (),
        outage: Outage | None = None,
    ) -> None:
        self._store, self._lease, self._bounds = store, lease, bounds
        self._on_recovered, self._hooks = on_recovered, Hooks(middlewares)
        self._known: set[str] = set()
        self._outage = outage or Outage()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: RedisSettings,
        *,
        lease: timedelta = timedelta(seconds=10),
        bounds: ArchiveSettings | None = None,
        on_recovered: Callable[[str, int, int], None] = lambda *_: None,
        middlewares: Iterable[Middleware] = (),
        outage: Outage | None = None,
    ) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it.

        Args:
            settings: The broker.
            lease: As the servers have it.
            bounds: How many dead letters are kept.
            on_recovered: Called with (queue, tasks that wait again, quarantined) after a reap.
            middlewares: Told of tasks whose servers died once too often.
            outage: What to tell when the broker is away; None: one of its own.
        """
        async with Store.open(settings) as store:
            yield cls(
                store,
                lease=lease,
                bounds=bounds,
                on_recovered=on_recovered,
                middlewares=middlewares,
                outage=outage,
            )

    async def run(self, stop: asyncio.Event) -> None:
        """Keep house until told to stop; go on when the broker is away, and when a chore fails."""
        async with asyncio.TaskGroup() as group:
            await repeat(
                lambda: self._look(group, stop),
                name="look for queues",
                every=_LOOK_FOR_QUEUES,
                stop=stop,
                outage=self._outage,
            )

    async def _look(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> timedelta:
        """Begin the chores of queues that are new; return how long to rest."""
        names = texts(await self._store.connection.command("SMEMBERS", QUEUES))
        for queue in names:
            if queue not in self._known:
                self._known.add(queue)
                for name, turn in self._turns(queue):
                    group.create_task(
                        repeat(
                            turn,
                            name=f"{name} {queue}",
                            every=_REST,
                            stop=stop,
                            outage=self._outage,
                        )
                    )
        return _LOOK_FOR_QUEUES if names else _REST

    def _turns(self, queue: str) -> list[tuple[str, Turn]]:
        reaper = Reaper(
            self._store,
            queue,
            lease=self._lease,
            on_recovered=self._on_recovered,
            on_dead=self._hooks.dead_lettered,
        )
        return [
            ("mover", Mover(self._store, queue).turn),
            ("reaper", reaper.turn),
            ("courier", Courier(self._store, queue).turn),
            ("janitor", Janitor(self._store, queue, bounds=self._bounds).turn),
        ]
