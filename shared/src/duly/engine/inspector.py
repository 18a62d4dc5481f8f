"""The one read-and-operate API, behind the monitor and the CLI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal, Self

from duly.clock import from_unix_ms
from duly.engine import removal
from duly.engine.keys import QUEUES, QueueKeys, queue_keys
from duly.engine.pages import Pages
from duly.engine.replies import (
    entry_instant,
    lock_of,
    pairs,
    server_from,
    sum_counts,
    text_map,
    texts,
)
from duly.engine.reports import (
    EntryReport,
    MinuteReport,
    QueueReport,
    ServerReport,
    ServerStatus,
    TaskPage,
    TickReport,
)
from duly.engine.schedules import Schedules
from duly.engine.store import Store
from duly.errors import ConfigError, IllegalTransitionError, NotFoundError
from duly.runtime.settings import RedisSettings
from duly.task import Task, TaskState

_HOUR_MS, _MINUTE_MS = 3_600_000, 60_000
_MOST_MINUTES = 72 * 60
_MOST_TASKS = 1_000
_CANCELS: dict[str, Literal["archived", "dropped", "retry"]] = {
    "archive": "archived",
    "delete": "dropped",
    "retry": "retry",
}


class Inspector:
    """Reads and operates every queue. All methods raise `BrokerDownError` when Redis is away."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
        return [await self._report(queue_keys(name)) for name in await self._names()]

    async def queue(self, name: str) -> QueueReport:
        """Report one queue.

        Raises:
            NotFoundError: Nothing was ever enqueued to it and no worker serves it.
        """
        return await self._report(await self._keys(name))

    async def minutes(self, name: str, *, count: int = 60) -> list[MinuteReport]:
        """Return what the queue did in each of the last `count` minutes, oldest first.

        Raises:
            NotFoundError: No such queue.
            ValueError: More than 72 hours were asked for.
        """
        if not 1 <= count <= _MOST_MINUTES:
            raise ValueError(f"count: {count} is not within 1 to {_MOST_MINUTES} minutes")
        keys = await self._keys(name)
        last = self._store.now_ms() // _MINUTE_MS
        first = last - count + 1
        hours = range(first // 60, last // 60 + 1)
        found = await self._store.connection.many(
            [("HGETALL", keys.hour(hour * _HOUR_MS)) for hour in hours]
        )
        counts = {hour: text_map(answer) for hour, answer in zip(hours, found, strict=True)}
        return [
            MinuteReport(
                at=from_unix_ms(minute * _MINUTE_MS),
                processed=sum_counts(counts[minute // 60], "processed", f"{minute % 60}:"),
                failed=sum_counts(counts[minute // 60], "failed", f"{minute % 60}:"),
            )
            for minute in range(first, last + 1)
        ]

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
        if not 1 <= limit <= _MOST_TASKS:
            raise ValueError(f"limit: {limit} is not within 1 to {_MOST_TASKS}")
        pages = Pages(self._store, await self._keys(queue))
        return await pages.page(state, limit=limit, cursor=cursor, newest=newest)

    async def task(self, queue: str, task_id: str) -> Task:
        """Return one task, whole.

        Raises:
            NotFoundError: The queue holds no such task.
        """
        keys = await self._keys(queue)
        pages = Pages(self._store, keys)
        # A task may move between the look into the index and the look at its place.
        for _ in range(3):
            place = await self._store.connection.command("HGET", keys.index, task_id)
            if place is None:
                break
            state = place.decode()
            if "-" in state:
                task = await pages.in_stream(task_id, state)
                if task is not None:
                    return task
                continue
            score = await self._store.connection.command("ZSCORE", getattr(keys, state), task_id)
            if score is not None:
                (task,) = await pages.details(TaskState(state), {task_id: float(score)})
                return task
        raise NotFoundError("task", task_id, f"queue {queue}")

    async def find(self, task_id: str) -> Task:
        """Return one task from whichever queue holds it.

        Raises:
            NotFoundError: No queue holds such a task.
        """
        names = await self._names()
        places = await self._store.connection.many(
            [("HEXISTS", queue_keys(name).index, task_id) for name in names]
        )
        for name, there in zip(names, places, strict=True):
            if there:
                return await self.task(name, task_id)
        raise NotFoundError("task", task_id)

    async def run(self, queue: str, task_id: str) -> None:
        """Make a scheduled, retry, archived or quarantined task wait again, attempts reset.

        Raises:
            NotFoundError: The queue holds no such task.
            IllegalTransitionError: It is waiting, active or completed.
        """
        await self._keys(queue)
        await self._operate(queue, "run", task_id)

    async def archive(self, queue: str, task_id: str) -> None:
        """Archive a waiting, scheduled or retry task; free its unique lock.

        Raises:
            NotFoundError: The queue holds no such task.
            IllegalTransitionError: It is in another state.
        """
        task = await self.task(queue, task_id)
        await self._operate(queue, "archive", task_id, lock_of(task))

    async def delete(self, queue: str, task_id: str) -> None:
        """Delete a task that is not active; free its unique lock.

        Raises:
            NotFoundError: The queue holds no such task.
            IllegalTransitionError: It is active.
        """
        task = await self.task(queue, task_id)
        await self._operate(queue, "delete", task_id, lock_of(task))

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
        await self._keys(queue)
        answer = await self._store.cancel(queue, task_id=task_id, outcome=_CANCELS[outcome])
        if answer == "missing":
            raise NotFoundError("task", task_id, f"queue {queue}")
        if answer != "ok":
            raise IllegalTransitionError(task_id, answer, "cancel")

    async def _operate(
        self,
        queue: str,
        operation: Literal["run", "archive", "delete"],
        task_id: str,
        lock: str = "",
    ) -> None:
        answer = await self._store.operate(queue, operation, task_id=task_id, lock=lock)
        if answer == "missing":
            raise NotFoundError("task", task_id, f"queue {queue}")
        if answer != "ok":
            raise IllegalTransitionError(task_id, answer, operation)

    async def pause(self, queue: str) -> None:
        """Stop workers from taking tasks of the queue; those running end. Idempotent.

        Raises:
            NotFoundError: No such queue.
        """
        keys = await self._keys(queue)
        await self._store.connection.command("SET", keys.paused, self._store.now_ms(), "NX")
        await self._store.poke(keys)

    async def resume(self, queue: str) -> None:
        """Undo `pause`. Idempotent.

        Raises:
            NotFoundError: No such queue.
        """
        keys = await self._keys(queue)
        await self._store.connection.command("DEL", keys.paused)
        await self._store.poke(keys)

    async def remove(self, queue: str, *, force: bool = False) -> int:
        """Remove a queue that no worker serves; return how many tasks went with it.

        Raises:
            NotFoundError: No such queue.
            QueueInUseError: It is served or has active tasks, or holds tasks without `force`.
        """
        return await removal.remove(self._store, await self._keys(queue), force=force)

    async def servers(self) -> list[ServerReport]:
        """Report every worker process with a heartbeat, the lost ones included."""
        found: dict[str, ServerReport] = {}
        for name in await self._names():
            for server in await self._servers(queue_keys(name)):
                known = found.get(server.id)
                if known is None or known.status is ServerStatus.LOST:
                    found[server.id] = server
        return sorted(found.values(), key=lambda server: (server.host, server.pid, server.id))

    async def schedules(self) -> list[EntryReport]:
        """Report every entry of the timetable, by id."""
        return await Schedules(self._store).entries(await self._names())

    async def ticks(self, entry: str, *, limit: int = 50) -> list[TickReport]:
        """Return the newest recorded ticks of one entry, newest first.

        Raises:
            NotFoundError: No scheduler announced such an entry.
            ValueError: The limit is not within 1 to 1000.
        """
        if not 1 <= limit <= _MOST_TASKS:
            raise ValueError(f"limit: {limit} is not within 1 to {_MOST_TASKS}")
        schedules = Schedules(self._store)
        return await schedules.ticks(await self._entry_keys(entry), entry, limit)

    async def pause_schedule(self, entry: str) -> None:
        """Let an entry's ticks pass without a task from now on. Idempotent.

        Raises NotFoundError as `ticks` does.
        """
        await Schedules(self._store).pause(await self._entry_keys(entry), entry)

    async def resume_schedule(self, entry: str) -> None:
        """Undo `pause_schedule`; what was due meanwhile is not caught up. Idempotent.

        Raises NotFoundError as `ticks` does.
        """
        await Schedules(self._store).resume(await self._entry_keys(entry), entry)

    async def trigger(self, entry: str) -> str:
        """Enqueue an entry's task now, beside its ticks; return the task's id.

        Raises NotFoundError as `ticks` does.
        """
        return await Schedules(self._store).trigger(await self._entry_keys(entry), entry)

    async def _entry_keys(self, entry: str) -> QueueKeys:
        """Return the keys of the queue that an entry enqueues to."""
        for name in await self._names():
            keys = queue_keys(name)
            if await self._store.connection.command("HEXISTS", keys.entries, entry):
                return keys
        raise NotFoundError("schedule entry", entry)

    async def _names(self) -> list[str]:
        return sorted(texts(await self._store.connection.command("SMEMBERS", QUEUES)))

    async def _keys(self, name: str) -> QueueKeys:
        try:
            keys = queue_keys(name)
        except ConfigError:
            raise NotFoundError("queue", name) from None
        if not await self._store.connection.command("SISMEMBER", QUEUES, name):
            raise NotFoundError("queue", name)
        return keys

    async def _servers(self, keys: QueueKeys) -> list[ServerReport]:
        leases, descriptions = await self._store.connection.many(
            [("ZRANGE", keys.leases, 0, -1, "WITHSCORES"), ("HGETALL", keys.servers)]
        )
        ends = {texts([server])[0]: float(end) for server, end in pairs(leases)}
        now_ms = self._store.now_ms()
        reports = (
            server_from(server, description, ends.get(server), now_ms)
            for server, description in text_map(descriptions).items()
        )
        return [report for report in reports if report is not None]

    async def _report(self, keys: QueueKeys) -> QueueReport:
        """Read a queue's counts: each in constant time, in two round trips."""
        group = await Pages(self._store, keys).group()
        now_ms = self._store.now_ms()
        counted = (keys.scheduled, keys.retry, keys.archived, keys.completed, keys.quarantined)
        answers = await self._store.connection.many(
            [
                ("XLEN", keys.stream),
                *(("ZCARD", key) for key in counted),
                ("HGETALL", keys.totals),
                ("HGETALL", keys.hour(now_ms)),
                ("HGETALL", keys.hour(now_ms - _MINUTE_MS)),
                ("GET", keys.paused),
                ("XRANGE", keys.stream, b"(" + group["last-delivered-id"], "+", "COUNT", 1),
            ]
        )
        length, scheduled, retry, archived, completed, quarantined = answers[:6]
        totals, paused, oldest = text_map(answers[6]), answers[9], answers[10]
        active = min(int(group["pending"]), length)
        live = [
            server for server in await self._servers(keys) if server.status is not ServerStatus.LOST
        ]
        since = entry_instant(oldest[0][0]) if oldest else None
        hours = (text_map(answers[7]), text_map(answers[8]))
        return QueueReport(
            name=keys.name,
            waiting=length - active,
            active=active,
            scheduled=scheduled,
            retry=retry,
            archived=archived,
            completed=completed,
            quarantined=quarantined,
            processed=sum_counts(totals, "processed"),
            failed=sum_counts(totals, "failed"),
            crashed=sum_counts(totals, "crashed"),
            archive_dropped=sum_counts(totals, "archived_dropped"),
            processed_per_minute=_last_minute(hours, "processed", now_ms),
            failed_per_minute=_last_minute(hours, "failed", now_ms),
            oldest_waiting=max(timedelta(0), from_unix_ms(now_ms) - since) if since else None,
            servers=len(live),
            concurrency=sum(server.concurrency for server in live),
            paused_since=from_unix_ms(int(paused)) if paused and paused.isdigit() else None,
        )


def _last_minute(hours: tuple[dict[str, Any], dict[str, Any]], outcome: str, now_ms: int) -> int:
    """Return the count of the last sixty seconds: this minute's, and its share of the one before.

    `hours` are the counters of the hour now and of the hour a minute ago (often the same).
    """
    minute = now_ms // _MINUTE_MS
    now = sum_counts(hours[0], outcome, f"{minute % 60}:")
    before = sum_counts(hours[1], outcome, f"{(minute - 1) % 60}:")
    return now + round(before * (1 - now_ms % _MINUTE_MS / _MINUTE_MS))
