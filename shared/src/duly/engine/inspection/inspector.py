"""The one API to read and operate queues, behind the monitor and the command line."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from duly.engine.inspection.audit import AuditTrail
from duly.engine.inspection.brokers import Brokers
from duly.engine.inspection.bulk import Bulk
from duly.engine.inspection.bulk_runs import BulkRuns
from duly.engine.inspection.failures import Failures
from duly.engine.inspection.groups import Groups
from duly.engine.inspection.history import History
from duly.engine.inspection.joins import Joins
from duly.engine.inspection.kinds import Kinds
from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.inspection.locks import Locks
from duly.engine.inspection.newest_failed import NewestFailed
from duly.engine.inspection.notes import Notes
from duly.engine.inspection.overview import Overview
from duly.engine.inspection.queues import Queues
from duly.engine.inspection.schedules import Schedules
from duly.engine.inspection.servers import Servers
from duly.engine.inspection.tasks import Tasks
from duly.engine.storage.reports import QueueReport, ServerReport
from duly.engine.storage.store import Store
from duly.runtime.settings import RedisSettings


class Inspector:
    """Everything about queues, by noun: `inspector.queues.list()`, `inspector.tasks.get(...)`.

    All methods raise `BrokerDownError` when the broker does not answer, and `BrokerError` when it
    refuses a command.
    """

    def __init__(self, store: Store) -> None:
        known = KnownQueues(store)
        self._store = store
        self.queues = Queues(known)
        self.tasks = Tasks(known, self.queues, self._every_queue)
        self.groups = Groups(known)
        self.joins = Joins(known)
        self.locks = Locks(known)
        self.servers = Servers(known)
        self.kinds = Kinds(known, self._serving)
        self.schedules = Schedules(known)
        self.brokers = Brokers(known)
        self.history = History(known)
        self.overview = Overview(known, self.queues, self.schedules)
        self.failures = Failures(self.tasks, NewestFailed(known))
        self.audit = AuditTrail(known)
        self.bulk = Bulk(self.tasks, self.groups)
        self.bulk_runs = BulkRuns(known)
        self.notes = Notes(known)

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it.

        Args:
            settings: The broker. It is connected to by the first call, not here.
        """
        async with Store.open(settings) as store:
            yield cls(store)

    async def _every_queue(self) -> Sequence[QueueReport]:
        """Report all queues as they are now: who counts what it will do must not miss any."""
        if self.overview.reads_at_once:
            return (await self.overview.read()).queues
        return await self.queues.list()

    async def _serving(self) -> Sequence[ServerReport]:
        """Return the servers of all queues as they are now: one that has left runs no kind."""
        if self.overview.reads_at_once:
            return (await self.overview.read()).servers
        return await self.servers.list()

    async def ping(self) -> None:
        """Return when the broker answers."""
        await self._store.connection.command("PING")
