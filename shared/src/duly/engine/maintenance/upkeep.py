"""A worker's upkeep of its queues: schedulers do the same more often, but workers alone suffice."""

from collections.abc import Collection
from datetime import timedelta

import structlog

from duly.engine.maintenance.janitor import Janitor
from duly.engine.maintenance.on_demand import OnDemandMaintenance
from duly.engine.maintenance.release import release_quarantined
from duly.engine.storage.store import Store
from duly.errors import BrokerDownError, BrokerError
from duly.runtime.settings import ArchiveSettings

EVERY = timedelta(minutes=1)
_RELEASES = 2


class Upkeep:
    """Keeps one queue known and within its bounds, and looks for what no heartbeat reports.

    No heartbeat reports the tasks of a consumer that never had a lease, nor what a client put
    into the outbox before it died.

    Args:
        store: Where the queue is.
        queue: Its name.
        bounds: How many dead letters are kept.
        kinds: What this server has handlers for. Tasks of these kinds that were quarantined as
            unknown are released when the server starts, and once more a minute later for those
            that were quarantined just then.
        on_demand: Its reaper and relay.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        *,
        bounds: ArchiveSettings,
        kinds: Collection[str],
        on_demand: OnDemandMaintenance,
    ) -> None:
        self._store, self._queue, self._kinds, self._on_demand = store, queue, kinds, on_demand
        self._janitor = Janitor(store, queue, bounds=bounds, every=EVERY)
        self._releases_left = _RELEASES
        self._log = structlog.get_logger("duly.engine")

    async def run_once(self) -> timedelta:
        """Run once; return how long to rest, zero while there is more to drop."""
        self._store.forget(self._queue)
        await self._store.register(self._queue)
        self._on_demand.look()
        await self._release()
        return await self._janitor.run_once()

    async def _release(self) -> None:
        if self._releases_left:
            try:
                released = await release_quarantined(self._store, self._queue, self._kinds)
            except BrokerDownError:
                raise
            except BrokerError:
                # A key of a wrong type, for instance: it must not keep the janitor from its work.
                self._releases_left -= 1
                raise
            self._releases_left -= 1
            if released:
                self._log.info("Quarantined tasks released", queue=self._queue, tasks=released)
