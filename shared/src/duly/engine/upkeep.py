"""A worker's upkeep of its queues: what schedulers do more often, so that workers alone suffice."""

from collections.abc import Collection
from datetime import timedelta

import structlog

from duly.engine.adoption import adopt
from duly.engine.chores.duties import Duties
from duly.engine.chores.janitor import Janitor
from duly.engine.store import Store
from duly.runtime.settings import ArchiveSettings

EVERY = timedelta(minutes=1)
_ADOPTIONS = 2


class Upkeep:
    """Keeps one queue known and within its bounds, and has its duties look for what nobody tells.

    Nobody tells of the tasks of a consumer that never had a lease, nor of what a client put into
    the outbox before it died.

    Args:
        store: Where the queue is.
        queue: Its name.
        bounds: How many dead letters are kept.
        kinds: What this server has handlers for: quarantined tasks of these that nobody knew
            wait again on its arrival, and once more for what came aside just then.
        duties: Its reaper and courier.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        *,
        bounds: ArchiveSettings,
        kinds: Collection[str],
        duties: Duties,
    ) -> None:
        self._store, self._queue, self._kinds, self._duties = store, queue, kinds, duties
        self._janitor = Janitor(store, queue, bounds=bounds, every=EVERY)
        self._adoptions = _ADOPTIONS
        self._log = structlog.get_logger("duly.engine")

    async def turn(self) -> timedelta:
        """Look once; return how long to rest, zero while there is more to drop."""
        self._store.forget(self._queue)
        await self._store.register(self._queue)
        self._duties.look()
        await self._adopt()
        return await self._janitor.turn()

    async def _adopt(self) -> None:
        if self._adoptions:
            adopted = await adopt(self._store, self._queue, self._kinds)
            self._adoptions -= 1
            if adopted:
                self._log.info("Quarantined tasks wait again", queue=self._queue, tasks=adopted)
