"""Tasks: listed, found, searched, run, archived, deleted, cancelled, one at a time."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from duly.engine.inspection.known_queues import KnownQueues, check_name
from duly.engine.inspection.pages import Pages, check_limit
from duly.engine.inspection.queues import Queues
from duly.engine.inspection.reruns import Reruns
from duly.engine.inspection.search import (
    DEFAULT_WINDOW,
    FOUND_BYTES,
    Found,
    Place,
    Query,
    lists_from,
    size_of,
    sizes_in,
)
from duly.engine.storage.codec import decode, lock_in, lock_of, unique_ms_of
from duly.engine.storage.keys import QueueKeys, queue_keys
from duly.engine.storage.reports import QueueReport, TaskPage
from duly.errors import (
    BrokerDownError,
    BrokerError,
    DuplicateTaskError,
    IllegalTransitionError,
    NotFoundError,
)
from duly.job import Job
from duly.task import Task, TaskState

_SCAN_PAGE = 500
_CANCELS: dict[str, Literal["archived", "dropped", "retry"]] = {
    "archive": "archived",
    "delete": "dropped",
    "retry": "retry",
}


class Tasks:
    """The tasks of queues. What concerns one task costs the same however many there are.

    Methods that take a queue raise `NotFoundError` when there is no such queue; those that take
    an id, too, when the queue holds no such task.
    """

    def __init__(
        self,
        known: KnownQueues,
        queues: Queues,
        every: Callable[[], Awaitable[Sequence[QueueReport]]],
    ) -> None:
        """Take what says how many tasks there are.

        Args:
            known: The queues.
            queues: Reports one of them.
            every: Reports all of them, in a few commands however many there are.
        """
        self._known, self._store = known, known.store
        self._queues, self._every = queues, every

    async def list(
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
            limit: Tasks in the page, 1 to 1000; of large tasks it holds fewer, about 1 MiB.
            cursor: `next_cursor` of the page before.
            newest: Newest first; otherwise oldest first. For scheduled and retry: by due time.

        Raises:
            ValueError: The cursor is not one of this list, or the limit is out of bounds.
            UnreadableQueueError: A key of the queue has another type than duly gives it.
        """
        check_limit(limit)

        async def page(keys: QueueKeys) -> TaskPage:
            pages = Pages(self._store, keys)
            return await pages.page(state, limit=limit, cursor=cursor, newest=newest)

        return await self._known.one(await self._known.keys(queue), page)

    async def get(self, queue: str, task_id: str) -> Task:
        """Return one task, whole."""
        return await self._get(await self._keys(queue, task_id), task_id)

    async def find(self, task_id: str) -> Task:
        """Return one task from whichever queue holds it.

        Raises:
            NotFoundError: No queue holds such a task.
            UnreadableQueueError: None does that can be read, and not all can.
        """
        check_name("task", task_id)
        queue = await self._known.holder("index", task_id)
        if queue is None:
            raise NotFoundError("task", task_id)
        return await self._get(queue_keys(queue), task_id)

    async def message(self, queue: str, task_id: str) -> bytes:
        """Return a task's message as it lies in the broker: for those that cannot be read."""
        keys = await self._keys(queue, task_id)
        data = await Pages(self._store, keys).message(task_id)
        if data is None:
            raise NotFoundError("message of task", task_id, f"queue {keys.name}")
        return data

    async def search(
        self,
        query: Query,
        *,
        limit: int = 100,
        window: int = DEFAULT_WINDOW,
        cursor: str | None = None,
    ) -> Found:
        """Return the newest tasks that match.

        Args:
            query: What to look for. By an id, one task in each queue at most is looked at.
            limit: Most tasks to return; of large tasks fewer, about 64 MiB.
            window: Most tasks to look at: reading everything would slow the broker for others.
            cursor: `next_cursor` of what the same search has found before.

        Raises:
            ValueError: The cursor is not one of this search.
        """
        if query.id and cursor is None:
            one = await self.identified(query)
            return Found(tasks=one, scanned=len(one), total=len(one), complete=True)
        sizes = await self.sizes(query.queues, query.states)
        most = {each: sys.maxsize if size else 0 for each, size in sizes.items()}  # many are empty
        place = None if cursor is None else Place.of(cursor)
        found: list[Task] = []
        unreadable: dict[str, str] = {}
        scanned, size, complete = 0, 0, True
        walk = self.walk(query.queues, query.states, unreadable=unreadable, most=most, begin=place)
        async for here, task in walk:
            if scanned >= window or len(found) >= limit or size >= FOUND_BYTES:
                complete = False
                break
            scanned, place = scanned + 1, here
            if query.matches(task):
                found.append(task)
                size += size_of(task)
        return Found(
            tasks=tuple(found), scanned=scanned, total=sum(sizes.values()),
            complete=complete and not unreadable, unreadable=tuple(unreadable.values()),
            next_cursor=None if complete or place is None else str(place),
        )  # fmt: skip

    async def identified(self, query: Query) -> tuple[Task, ...]:
        """Return the tasks with the query's id that match it, one in each queue at most."""
        check_name("task", query.id)
        found = []
        for name in query.queues or await self._known.holders("index", query.id):
            keys = await self._known.keys(name) if query.queues else queue_keys(name)
            task = await Pages(self._store, keys).task(query.id)
            if task is not None and task.state in query.states and query.matches(task):
                found.append(task)
        return tuple(found)

    async def count(self, queues: Sequence[str], states: Sequence[TaskState]) -> int:
        """Return how many tasks a scan would yield, without looking at any.

        Args:
            queues: Names of queues; empty: every queue.
            states: Which states to count.
        """
        return sum((await self.sizes(queues, states)).values())

    async def sizes(
        self, queues: Sequence[str], states: Sequence[TaskState]
    ) -> dict[tuple[str, TaskState], int]:
        """Return how many tasks each queue has in each state.

        Args:
            queues: Their names; none: all. Those that cannot be read are left out.
            states: Which states.
        """
        if queues:
            reports: Sequence[QueueReport] = [await self._queues.get(name) for name in queues]
        else:
            reports = await self._every()
        return sizes_in(reports, states)

    async def scan(
        self,
        queues: Sequence[str],
        states: Sequence[TaskState],
        *,
        unreadable: dict[str, str],
        most: Mapping[tuple[str, TaskState], int] | None = None,
    ) -> AsyncIterator[Task]:
        """Yield tasks state by state, newest first, a page at a time.

        Args:
            queues: Where to look; none: in every queue.
            states: The states, in the order in which they are looked at.
            unreadable: Gets, by name, why a queue was passed over; one that was asked for is not.
            most: How many of each queue and state to look at; None: all. A queue that it does
                not name has become known since: a page of it is looked at.
        """
        async for _, task in self.walk(queues, states, unreadable=unreadable, most=most):
            yield task

    async def walk(
        self,
        queues: Sequence[str],
        states: Sequence[TaskState],
        *,
        unreadable: dict[str, str],
        most: Mapping[tuple[str, TaskState], int] | None = None,
        begin: Place | None = None,
    ) -> AsyncIterator[tuple[Place, Task]]:
        """Yield what `scan` does, from the place `begin` on, each with the place behind it.

        See `scan` for the rest.
        """
        names = queues or await self._known.names()
        for place in lists_from(begin, names, states, named=bool(queues)):
            try:
                whole = most is None or place is begin  # a cursor is looked at in any case
                bound = None if whole else (most or {}).get((place.queue, place.state), _SCAN_PAGE)
                async for found in self._walk(place, bound):
                    yield found
            except BrokerDownError:
                raise
            except BrokerError as error:
                if queues:
                    raise
                unreadable[place.queue] = str(error)

    async def _walk(self, place: Place, most: int | None) -> AsyncIterator[tuple[Place, Task]]:
        queue, state, cursor = place.queue, place.state, place.cursor
        left = sys.maxsize if most is None else most
        while left > 0:
            size = min(_SCAN_PAGE, left)
            page = await self.list(queue, state, limit=size, cursor=cursor)
            for task, behind in zip(page.tasks, page.cursors, strict=True):
                yield Place(state, queue, behind), task
            left -= len(page.tasks)
            cursor = page.next_cursor
            if cursor is None:
                break

    async def run(self, queue: str, task_id: str, *, seen: Task | None = None) -> None:
        """Make a scheduled, retry, aggregating, archived or quarantined task wait, attempts reset.

        A deadline that has passed is removed. One that has moved on since it was `seen`, or has
        ended anew, is left alone; None: whatever it has done.

        Raises:
            IllegalTransitionError: It is waiting, active or completed, or not as it was seen.
            DuplicateTaskError: It is unique, and another task holds its lock.
        """
        keys = await self._keys(queue, task_id)
        data = await Reruns(self._store, {}).lift(keys, task_id)
        lock = lock_in(data)
        ttl_ms = unique_ms_of(decode(data)) if lock else 0
        answer = await self._store.operate(
            keys.name, "run", task_id=task_id, lock=lock, lock_ttl_ms=ttl_ms, seen=seen
        )
        locked, _, holder = answer.partition(" ")
        if locked == "locked":
            raise DuplicateTaskError(decode(data).task_name, keys.name, holder)
        _accept(answer, keys, task_id, "run")

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

        The new task has another payload, or is in another queue, or both. Its label `origin` names
        the old one, which stays archived with its attempts and gets a label `replaced_by`.
        Idempotent. The new task lacks the deadline of the old one, and is unique if that was.

        Args:
            queue: Where the task is.
            task_id: The task.
            changes: Fields of the payload that are to be different.
            to_queue: Where the new task is to run; None: in the same queue.
            catalogue: Kind → job, by which payloads are checked where the kind is known.

        Raises:
            IllegalTransitionError: The task is waiting or active.
            DuplicateTaskError: It would be unique, and another task holds its lock.
            MalformedTaskError: The payload does not fit its job, or the old message is malformed.
            PayloadTooLargeError: The new message is too large.
        """
        keys = await self._keys(queue, task_id)
        target = None if to_queue is None else await self._known.keys(to_queue)
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

        Its unique lock moves to the new payload and expires when it would have expired.

        Raises:
            DuplicateTaskError: Another task holds the lock of the new payload.
            As `rerun` otherwise.
        """
        keys = await self._keys(queue, task_id)
        return await Reruns(self._store, catalogue or {}).edit(keys, task_id, changes)

    async def archive(self, queue: str, task_id: str, *, seen: Task | None = None) -> None:
        """Archive a waiting, scheduled, retry or aggregating task; free its unique lock.

        Raises:
            IllegalTransitionError: The task is in another state, or not as it was `seen`.
        """
        await self._operate(queue, "archive", task_id, seen)

    async def delete(self, queue: str, task_id: str, *, seen: Task | None = None) -> None:
        """Delete a task that is not active; free its unique lock.

        Raises:
            IllegalTransitionError: The task is active, or not as it was `seen`.
        """
        await self._operate(queue, "delete", task_id, seen)

    async def cancel(
        self,
        queue: str,
        task_id: str,
        *,
        outcome: Literal["archive", "delete", "retry"] = "archive",
    ) -> None:
        """Cancel an active task: it is archived, deleted or retried once its handler has ended.

        Its server learns of it at once and cancels the handler; until that has really ended the
        task stays active. A server shows handlers that ignore cancellation as stuck.

        Args:
            queue: The queue that holds the task.
            task_id: The task.
            outcome: What becomes of the task: "archive" (the default), "delete" or "retry".

        Raises:
            IllegalTransitionError: The task is not active.
        """
        keys = await self._keys(queue, task_id)
        answer = await self._store.cancel(keys.name, task_id=task_id, outcome=_CANCELS[outcome])
        _accept(answer, keys, task_id, "cancel")

    async def _keys(self, queue: str, task_id: str) -> QueueKeys:
        check_name("task", task_id)
        return await self._known.keys(queue)

    async def _get(self, keys: QueueKeys, task_id: str) -> Task:
        task = await Pages(self._store, keys).task(task_id)
        if task is None:
            raise NotFoundError("task", task_id, f"queue {keys.name}")
        return task

    async def _operate(
        self, queue: str, operation: Literal["archive", "delete"], task_id: str, seen: Task | None
    ) -> None:
        keys = await self._keys(queue, task_id)
        lock = lock_of(await self._get(keys, task_id))
        answer = await self._store.operate(
            keys.name, operation, task_id=task_id, lock=lock, seen=seen
        )
        _accept(answer, keys, task_id, operation)


def _accept(answer: str, keys: QueueKeys, task_id: str, operation: str) -> None:
    """Raise what a script's answer means, unless it is "ok"."""
    if answer == "missing":
        raise NotFoundError("task", task_id, f"queue {keys.name}")
    if answer != "ok":
        raise IllegalTransitionError(task_id, answer, operation)
