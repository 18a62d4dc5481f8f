"""The producer's side: enqueue typed jobs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Self

from duly.engine.reports import TickReport
from duly.job import Job
from duly.runtime.settings import RedisSettings
from duly.schedule import Entry
from duly.task import Task


class Client:
    """Enqueues jobs. Safe to share between coroutines of one loop."""

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it."""
        raise NotImplementedError
        yield

    async def enqueue(
        self,
        job: Job,
        *,
        queue: str | None = None,
        task_id: str | None = None,
        delay: timedelta | None = None,
        due: datetime | None = None,
        max_attempts: int | None = None,
        timeout: timedelta | None = None,
        unique_for: timedelta | None = None,
        headers: dict[str, str] | None = None,
    ) -> Task:
        """Enqueue one job and return the task it became, waiting or scheduled.

        Every option overrides the policy of the job's kind. Calling again with the same
        `task_id` after `BrokerDownError` can not enqueue twice.

        Raises:
            DuplicateTaskError: It is unique and another one is on its way.
            TaskIdConflictError: The id is taken.
            QueueFullError: The queue is at its limit.
            PayloadTooLargeError: The encoded task is too large.
            BrokerDownError: The broker did not answer within its timeout.
        """
        raise NotImplementedError

    async def tick(self, entry: Entry) -> tuple[TickReport | None, timedelta]:
        """Claim the entry's current slot and enqueue its task, in one atomic step.

        Any number of replicas may call it at any time: a slot is claimed once. Slots come from
        the broker's clock, not from this machine's.

        Returns:
            What became of the tick (None: not due, or another replica had it), and how long it
            is until the next slot begins.

        Raises:
            BrokerDownError: Try again; a tick whose reply was lost is not enqueued twice.
        """
        raise NotImplementedError

    async def announce(self, entries: tuple[Entry, ...]) -> None:
        """Tell the inspector which entries the timetable has. Idempotent; repeat every minute."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Return when the broker answers; refuse one that would lose tasks.

        Raises:
            BrokerDownError: No answer within the timeout.
            BrokerPolicyError: The broker evicts keys, and `redis.allow_eviction` is off.
        """
        raise NotImplementedError
