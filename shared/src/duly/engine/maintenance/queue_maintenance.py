"""All maintenance of one queue that a worker does, so that workers alone suffice."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta

from duly.engine.enqueue.outbox import OutboxRelay
from duly.engine.maintenance.aggregator import Aggregator, Merger
from duly.engine.maintenance.on_demand import OnDemandMaintenance
from duly.engine.maintenance.promoter import Promoter
from duly.engine.maintenance.reaper import Reaper
from duly.engine.maintenance.upkeep import EVERY, Upkeep
from duly.engine.middleware import Hooks
from duly.engine.storage.store import Store
from duly.runtime.service import Outage, repeat
from duly.runtime.settings import ArchiveSettings
from duly.runtime.supervision import Supervisor

_BEATS_PER_LEASE = 4
_NEVER = timedelta(days=1)


class QueueMaintenance:
    """The background loops of one queue in a worker, watched by a supervisor.

    Args:
        store: The broker.
        queue: Its name.
        server: The id of this server.
        lease: How long a server counts as alive after a heartbeat.
        bounds: How many dead letters are kept.
        kinds: What this server has handlers for.
        mergers: Kind → what merges its groups.
        supervisor: Restarts the loops, and fails `/livez` when one hangs.
        outage: Given a loop's name, returns what it reports the broker's errors to.
        on_recovered: Called with (queue, tasks that wait again, quarantined) after a reap.
        hooks: Told of each task that was given up.
    """

    def __init__(
        self,
        store: Store,
        queue: str,
        *,
        server: str,
        lease: timedelta,
        bounds: ArchiveSettings,
        kinds: Collection[str],
        mergers: Mapping[str, Merger],
        supervisor: Supervisor,
        outage: Callable[[str], Outage],
        on_recovered: Callable[[str, int, int], None],
        hooks: Hooks,
    ) -> None:
        self._queue, self._supervisor, self._outage = queue, supervisor, outage
        reaper = Reaper(
            store, queue, lease=lease, on_recovered=on_recovered, on_dead=hooks.dead_lettered
        )
        self.on_demand = OnDemandMaintenance(
            Promoter(store, queue, longest_rest=_NEVER),
            reaper,
            OutboxRelay(store, queue),
            horizon=lease / _BEATS_PER_LEASE,
            queue=queue,
            supervisor=supervisor,
        )
        self._upkeep = Upkeep(store, queue, bounds=bounds, kinds=kinds, on_demand=self.on_demand)
        self._aggregator = Aggregator(
            store, queue, mergers, server=server, hooks=hooks, outage=outage, supervisor=supervisor
        )

    def start(self, stop: asyncio.Event) -> "list[asyncio.Task[None]]":
        """Start the loops; cancel what is returned to end them."""

        async def aggregate() -> None:
            await self._aggregator.run(stop)

        async def tidy() -> None:
            await repeat(
                self._upkeep.run_once,
                name=f"upkeep {self._queue}",
                every=EVERY,
                stop=stop,
                outage=self._outage(f"upkeep {self._queue}"),
                supervisor=self._supervisor,
            )

        return [
            self._supervisor.start(f"{name} {self._queue}", run)
            for name, run in (
                ("maintenance", self.on_demand.run),
                ("aggregator", aggregate),
                ("upkeep", tidy),
            )
        ]
