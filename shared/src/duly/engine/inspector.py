"""The one read-and-operate API, behind the monitor and the CLI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from duly.engine.reports import (
    EntryReport,
    MinuteReport,
    QueueReport,
    ServerReport,
    TaskPage,
    TickReport,
)
from duly.runtime.settings import RedisSettings
from duly.task import Task, TaskState


class Inspector:
    """Reads and operates every queue. All methods raise `BrokerDownError` when Redis is away."""

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it."""
        raise NotImplementedError
        yield

    async def ping(self) -> None:
        """Return when the broker answers."""
        raise NotImplementedError

    async def queues(self) -> list[QueueReport]:
        """Report every known queue, by name."""
        raise NotImplementedError

    async def queue(self, name: str) -> QueueReport:
        """Report one queue.

        Raises:
            NotFoundError: Nothing was ever enqueued to it and no worker serves it.
        """
        raise NotImplementedError

    async def minutes(self, name: str, *, count: int = 60) -> list[MinuteReport]:
        """Return what the queue did in each of the last `count` minutes, oldest first."""
        raise NotImplementedError

    async def tasks(
        self,
        queue: str,
        state: TaskState,
        *,
        limit: int = 30,
        cursor: str | None = None,
        newest: bool = True,
    ) -> TaskPage:
        """Return a page of the tasks in one state, with their history.

        Args:
            queue: Its name.
            state: Any of the states.
            limit: Tasks in the page, 1 to 1000.
            cursor: `next_cursor` of the page before.
            newest: Newest first; otherwise oldest first. For scheduled and retry: by due time.

        Raises:
            ValueError: The cursor is not one of ours.
        """
        raise NotImplementedError

    async def task(self, queue: str, task_id: str) -> Task:
        """Return one task, whole.

        Raises:
            NotFoundError: The queue holds no such task.
        """
        raise NotImplementedError

    async def find(self, task_id: str) -> Task:
        """Return one task from whichever queue holds it.

        Raises:
            NotFoundError: No queue holds such a task.
        """
        raise NotImplementedError

    async def run(self, queue: str, task_id: str) -> None:
        """Make a scheduled, retry, archived or quarantined task wait again, attempts reset.

        Raises:
            NotFoundError: The queue holds no such task.
            IllegalTransitionError: It is waiting, active or completed.
        """
        raise NotImplementedError

    async def archive(self, queue: str, task_id: str) -> None:
        """Archive a waiting, scheduled or retry task; free its unique lock."""
        raise NotImplementedError

    async def delete(self, queue: str, task_id: str) -> None:
        """Delete a task that is not active; free its unique lock."""
        raise NotImplementedError

    async def pause(self, queue: str) -> None:
        """Stop workers from taking tasks of the queue; those running end. Idempotent."""
        raise NotImplementedError

    async def resume(self, queue: str) -> None:
        """Undo `pause`. Idempotent."""
        raise NotImplementedError

    async def servers(self) -> list[ServerReport]:
        """Report every worker process with a heartbeat, the lost ones included."""
        raise NotImplementedError

    async def schedules(self) -> list[EntryReport]:
        """Report every entry of the timetable, by id."""
        raise NotImplementedError

    async def ticks(self, entry: str, *, limit: int = 50) -> list[TickReport]:
        """Return the newest recorded ticks of one entry, newest first.

        Raises:
            NotFoundError: No scheduler announced such an entry.
        """
        raise NotImplementedError
