"""The housekeeper: moves, reaps and tidies every queue. Run by each scheduler replica."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self

import structlog

from duly.engine.chores.janitor import Bounds, Janitor
from duly.engine.chores.mover import Mover
from duly.engine.chores.reaper import Reaper
from duly.engine.keys import QUEUES
from duly.engine.replies import texts
from duly.engine.store import Store
from duly.errors import BrokerError
from duly.runtime.settings import RedisSettings

_LOOK_FOR_QUEUES = timedelta(seconds=10)
_PAUSE_AFTER_ERROR = timedelta(seconds=1)


class Housekeeper:
    """Keeps all queues in order, also those that no worker serves. Any number may run."""

    def __init__(
        self,
        store: Store,
        *,
        lease: timedelta = timedelta(seconds=10),
        bounds: Bounds | None = None,
        on_recovered: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self._store, self._lease, self._bounds = store, lease, bounds
        self._on_recovered = on_recovered
        self._chores: dict[str, list[asyncio.Task[None]]] = {}
        self._log = structlog.get_logger("duly.engine")

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: RedisSettings,
        *,
        lease: timedelta = timedelta(seconds=10),
        on_recovered: Callable[[str, int, int], None] = lambda *_: None,
    ) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it."""
        async with Store.open(settings) as store:
            yield cls(store, lease=lease, on_recovered=on_recovered)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep house until told to stop; go on when the broker is away."""
        try:
            while not stop.is_set():
                try:
                    for queue in await self._queues():
                        self._start(queue)
                    rest = _LOOK_FOR_QUEUES if self._chores else _PAUSE_AFTER_ERROR
                except BrokerError as error:
                    self._log.debug("Looking for queues failed", error=str(error))
                    rest = _PAUSE_AFTER_ERROR
                await _wait(stop, rest)
        finally:
            running = [task for tasks in self._chores.values() for task in tasks]
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _queues(self) -> list[str]:
        return texts(await self._store.connection.command("SMEMBERS", QUEUES))

    def _start(self, queue: str) -> None:
        if queue not in self._chores:
            loop = asyncio.get_running_loop()
            turns = (
                Mover(self._store, queue).turn,
                Reaper(self._store, queue, lease=self._lease, on_recovered=self._on_recovered).turn,
                Janitor(self._store, queue, bounds=self._bounds).turn,
            )
            self._chores[queue] = [loop.create_task(self._repeat(turn)) for turn in turns]

    async def _repeat(self, turn: Callable[[], Awaitable[timedelta]]) -> None:
        while True:
            try:
                rest = await turn()
            except BrokerError as error:
                self._log.debug("Chore failed, trying on", error=str(error))
                rest = _PAUSE_AFTER_ERROR
            await asyncio.sleep(rest.total_seconds())


async def _wait(stop: asyncio.Event, duration: timedelta) -> None:
    try:
        await asyncio.wait_for(stop.wait(), duration.total_seconds())
    except TimeoutError:
        return
