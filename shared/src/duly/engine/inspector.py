"""The one read-and-operate API, behind the monitor and the CLI: a door, with a room a noun."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

from duly.engine import removal
from duly.engine.commands import Command, tell
from duly.engine.counters import Counters
from duly.engine.fleet import Fleet
from duly.engine.groups import Groups
from duly.engine.joins import Joins
from duly.engine.keys import QueueKeys
from duly.engine.locks import Locks
from duly.engine.nodes import Nodes
from duly.engine.pages import Pages
from duly.engine.queues import Queues
from duly.engine.reports import (
    BrokerReport,
    DayReport,
    EntryReport,
    GroupReport,
    JoinReport,
    LockPage,
    MinuteReport,
    QueueReport,
    ServerReport,
    TaskPage,
    TickReport,
)
from duly.engine.reruns import Reruns
from duly.engine.schedules import Schedules
from duly.engine.store import Store
from duly.engine.tasks import Tasks
from duly.job import Job
from duly.runtime.settings import RedisSettings
from duly.task import Task, TaskState

_MOST_TASKS = 1_000


class Inspector:
    """Reads and operates every queue. All methods raise `BrokerDownError` when Redis is away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queues, self._counters = Queues(store), Counters(store)
        self._tasks, self._fleet = Tasks(store), Fleet(store)
        self._schedules, self._nodes = Schedules(store), Nodes(store)

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: RedisSettings) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it."""
        async with Store.open(settings) as store:
            yield cls(store)

    async def ping(self) -> None:
        """Return when the broker answers."""
        await self._store.connection.command("PING")

    async def queues(self) -> list[QueueReport]:
        """Report every known queue, by name."""
        return await self._queues.reports()

    async def queue(self, name: str) -> QueueReport:
        """Report one queue.

        Raises:
            NotFoundError: Nothing was ever enqueued to it and no worker serves it.
        """
        return await self._queues.report(await self._queues.keys(name))

    async def memory(self, name: str) -> int | None:
        """Return about how many bytes a queue takes in the broker, by a sample of each of its keys.

        None where the broker's user may not ask. The counts of minutes and days are left out.

        Raises:
            NotFoundError: No such queue.
        """
        return await self._queues.memory(await self._queues.keys(name))

    async def minutes(self, name: str, *, count: int = 60) -> list[MinuteReport]:
        """Return what the queue did in each of the last `count` minutes, oldest first.

        Raises:
            NotFoundError: No such queue.
            ValueError: More than 72 hours were asked for.
        """
        return await self._counters.minutes(await self._queues.keys(name), count)

    async def days(self, name: str, *, count: int = 90) -> list[DayReport]:
        """Return what the queue did in each of the last `count` days of UTC, oldest first.

        Raises:
            NotFoundError: No such queue.
            ValueError: More than 90 days were asked for.
        """
        return await self._counters.days(await self._queues.keys(name), count)

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
            NotFoundError: No such queue.
            ValueError: The cursor is not one of ours, or the limit is out of bounds.
        """
        _bound(limit)
        pages = Pages(self._store, await self._queues.keys(queue))
        return await pages.page(state, limit=limit, cursor=cursor, newest=newest)

    async def task(self, queue: str, task_id: str) -> Task:
        """Return one task, whole.

        Raises:
            NotFoundError: The queue holds no such task.
        """
        return await self._tasks.task(await self._queues.keys(queue), task_id)

    async def find(self, task_id: str) -> Task:
        """Return one task from whichever queue holds it.

        Raises:
            NotFoundError: No queue holds such a task.
        """
        return await self._tasks.find(await self._queues.names(), task_id)

    async def run(self, queue: str, task_id: str) -> None:
        """Make a scheduled, retry, aggregating, archived or quarantined task wait, attempts reset.

        A deadline that has passed is taken from it.

        Raises:
            NotFoundError: The queue holds no such task.
            IllegalTransitionError: It is waiting, active or completed.
        """
        await self._tasks.run(await self._queues.keys(queue), task_id)

    async def rerun(
        self,
        queue: str,
        task_id: str,
        *,
        changes: Mapping[str, Any] | None = None,
        to_queue: str | None = None,
        catalogue: Mapping[str, type[Job]] | None = None,
    ) -> Task:
        """Run an ended, scheduled or retry task once more, as a new one; return that.

        The new task has another payload, or is in another queue, or both; its label `origin` names
        the old one, which stays archived with its attempts and gets a label `replaced_by`. Safe to
        repeat. It takes no unique lock and no passed deadline with it.

        Args:
            queue: Where the task is.
            task_id: The task.
            changes: Fields of the payload that are to be different.
            to_queue: Where the new one is to run; None: in the same queue.
            catalogue: Kind → job, by which payloads are checked where the kind is known.

        Raises:
            NotFoundError: The queue holds no such task.
            IllegalTransitionError: It is waiting or active.
            MalformedTaskError: The payload does not fit its job, or the old message is none.
            PayloadTooLargeError: The new message is too large.
        """
        keys = await self._queues.keys(queue)
        target = None if to_queue is None else await self._queues.keys(to_queue)
        reruns = Reruns(self._store, catalogue or {})
        return await reruns.rerun(keys, task_id, changes=changes, target=target)

    async def edit(
        self,
        queue: str,
        task_id: str,
        changes: Mapping[str, Any],
        *,
        catalogue: Mapping[str, type[Job]] | None = None,
    ) -> Task:
        """Change the payload of a scheduled or retry task; return it as it is now.

        Its unique lock goes with the payload and ends when it would have ended.

        Raises:
            DuplicateTaskError: Another task holds the lock of the new payload.
            As `rerun` otherwise.
        """
        keys = await self._queues.keys(queue)
        return await Reruns(self._store, catalogue or {}).edit(keys, task_id, changes)

    async def locks(self, queue: str) -> LockPage:
        """Return the unique locks that tasks of a queue hold, within 10,000.

        Raises:
            NotFoundError: No such queue.
        """
        return await Locks(self._store).page(await self._queues.keys(queue))

    async def archive(self, queue: str, task_id: str) -> None:
        """Archive a waiting, scheduled, retry or aggregating task; free its unique lock.

        Raises:
            NotFoundError: The queue holds no such task.
            IllegalTransitionError: It is in another state.
        """
        await self._tasks.archive(await self._queues.keys(queue), task_id)

    async def delete(self, queue: str, task_id: str) -> None:
        """Delete a task that is not active; free its unique lock.

        Raises:
            NotFoundError: The queue holds no such task.
            IllegalTransitionError: It is active.
        """
        await self._tasks.delete(await self._queues.keys(queue), task_id)

    async def cancel(
        self,
        queue: str,
        task_id: str,
        *,
        outcome: Literal["archive", "delete", "retry"] = "archive",
    ) -> None:
        """Have an active task stopped, and archived, deleted or retried when it has.

        Its server learns of it at once and cancels the handler; the task stays active until the
        handler has really ended (a server shows those that do not as stuck).

        Raises:
            NotFoundError: The queue holds no such task.
            IllegalTransitionError: It is not active.
        """
        await self._tasks.cancel(await self._queues.keys(queue), task_id, outcome)

    async def groups(self, queue: str) -> list[GroupReport]:
        """Report the groups of a queue whose tasks are to be merged, a thousand at most, by due.

        Raises:
            NotFoundError: No such queue.
        """
        return await Groups(self._store).all(await self._queues.keys(queue))

    async def group(self, queue: str, kind: str, name: str) -> GroupReport:
        """Report one group; raises NotFoundError when no task is in it, too."""
        return await Groups(self._store).one(await self._queues.keys(queue), kind, name)

    async def group_tasks(
        self,
        queue: str,
        kind: str,
        name: str,
        *,
        limit: int = 30,
        cursor: str | None = None,
        newest: bool = True,
    ) -> TaskPage:
        """Return a page of a group's tasks, empty if there is no such group; else as `tasks`."""
        _bound(limit)
        keys, group, room = await self._queues.keys(queue), f"{kind}:{name}", Groups(self._store)
        return await room.page(keys, group, limit=limit, cursor=cursor, newest=newest)

    async def group_members(self, queue: str, kind: str, name: str) -> list[str]:
        """Return the ids of a group's tasks, oldest first, a thousand at most.

        Raises NotFoundError as `groups` does.
        """
        return await Groups(self._store).members(await self._queues.keys(queue), kind, name)

    async def joins(self, queue: str) -> list[JoinReport]:
        """Report the tasks of a queue that wait for members of a group, a thousand at most.

        Raises:
            NotFoundError: No such queue.
        """
        return await Joins(self._store).all(await self._queues.keys(queue))

    async def cancel_join(self, queue: str, join: str) -> None:
        """Forget such a task: its members go on, and nothing follows them.

        Raises:
            NotFoundError: No such queue, or no such join in it.
        """
        await Joins(self._store).cancel(await self._queues.keys(queue), join)

    async def pause(self, queue: str) -> None:
        """Stop workers from taking tasks of the queue; those running end. Idempotent.

        Raises:
            NotFoundError: No such queue.
        """
        await self._queues.pause(await self._queues.keys(queue))

    async def resume(self, queue: str) -> None:
        """Undo `pause`. Idempotent.

        Raises:
            NotFoundError: No such queue.
        """
        await self._queues.resume(await self._queues.keys(queue))

    async def remove(self, queue: str, *, force: bool = False) -> int:
        """Remove a queue that no worker serves; return how many tasks went with it.

        Raises:
            NotFoundError: No such queue.
            QueueInUseError: It is served or has active tasks, or holds tasks without `force`.
        """
        return await removal.remove(self._store, await self._queues.keys(queue), force=force)

    async def servers(self) -> list[ServerReport]:
        """Report every worker process with a heartbeat, the lost ones included."""
        return await self._fleet.servers(await self._queues.names())

    async def quiet(self, server: str) -> None:
        """Have a server take no more tasks; what it runs goes on. Idempotent.

        Raises:
            NotFoundError: No live server has this id.
        """
        await tell(self._store, server, Command.QUIET, await self._queues.names())

    async def wake(self, server: str) -> None:
        """Undo `quiet`. Idempotent; raises as it does."""
        await tell(self._store, server, Command.WAKE, await self._queues.names())

    async def stop(self, server: str) -> None:
        """Have a server drain and exit with 0, as on SIGTERM. Idempotent; raises as `quiet` does.

        Where something restarts what exits (Kubernetes does), another one comes in its place.
        """
        await tell(self._store, server, Command.STOP, await self._queues.names())

    async def brokers(self) -> list[BrokerReport]:
        """Report the broker, or each master of a Cluster, with the queues that are on it."""
        return await self._nodes.reports(await self._queues.names())

    async def schedules(self) -> list[EntryReport]:
        """Report every entry of the timetable, by id."""
        return await self._schedules.entries(await self._queues.names())

    async def ticks(self, entry: str, *, limit: int = 50) -> list[TickReport]:
        """Return the newest recorded ticks of one entry, newest first.

        Raises:
            NotFoundError: No scheduler announced such an entry.
            ValueError: The limit is not within 1 to 1000.
        """
        _bound(limit)
        return await self._schedules.ticks(await self._entry_keys(entry), entry, limit)

    async def pause_schedule(self, entry: str) -> None:
        """Let an entry's ticks pass without a task from now on. Idempotent.

        Raises NotFoundError as `ticks` does.
        """
        await self._schedules.pause(await self._entry_keys(entry), entry)

    async def resume_schedule(self, entry: str) -> None:
        """Undo `pause_schedule`; what was due meanwhile is not caught up. Idempotent.

        Raises NotFoundError as `ticks` does.
        """
        await self._schedules.resume(await self._entry_keys(entry), entry)

    async def trigger(self, entry: str) -> str:
        """Enqueue an entry's task now, beside its ticks; return the task's id.

        Raises NotFoundError as `ticks` does.
        """
        return await self._schedules.trigger(await self._entry_keys(entry), entry)

    async def _entry_keys(self, entry: str) -> QueueKeys:
        return await self._schedules.keys(await self._queues.names(), entry)


def _bound(limit: int) -> None:
    """Refuse a page that is too large, or none."""
    if not 1 <= limit <= _MOST_TASKS:
        raise ValueError(f"limit: {limit} is not within 1 to {_MOST_TASKS}")
