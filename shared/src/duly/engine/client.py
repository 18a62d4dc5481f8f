"""The producer's side: enqueue typed jobs."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Self

from duly.clock import from_unix_ms
from duly.engine.courier import launch
from duly.engine.flows import Origin, bounded, follow, plan
from duly.engine.gatherer import Gatherer
from duly.engine.middleware.tracing import headers_of_current_span
from duly.engine.requests import (
    Prepared,
    Request,
    accepted,
    new_ids,
    prepare,
    refusal,
    result,
)
from duly.engine.scripts import NewTask, gather
from duly.engine.store import BATCH, Store
from duly.errors import BrokerDownError, DulyError, EnqueueError
from duly.flow import Node
from duly.job import Job
from duly.runtime.settings import DEFAULT_QUEUES, QueueSettings, RedisSettings
from duly.task import Task

_MAX_LENGTH = QueueSettings().max_length
_BATCHES_AHEAD = 2
"""Batches under way while the next is prepared: the broker always has one to work on."""
_Add = Callable[[str, list[NewTask], bool], Awaitable[list[int | str]]]
"""Adds tasks to a queue, "all or none" if so told; answers one item a task."""


class Client:
    """Enqueues jobs. Safe to share between coroutines of one loop."""

    def __init__(self, store: Store, queues: Mapping[str, QueueSettings] | None = None) -> None:
        self._store = store
        self._limits = {
            name: queue.max_length
            for name, queue in (DEFAULT_QUEUES if queues is None else queues).items()
        }
        self._gatherer = Gatherer(self._add_each)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, settings: RedisSettings, queues: Mapping[str, QueueSettings] | None = None
    ) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it."""
        async with Store.open(settings) as store:
            yield cls(store, queues)

    async def enqueue(
        self,
        job: Job,
        *,
        queue: str | None = None,
        task_id: str | None = None,
        delay: timedelta | None = None,
        due: datetime | None = None,
        max_attempts: int | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - the task's, not this call's
        deadline: datetime | None = None,
        unique_for: timedelta | None = None,
        retention: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        group: str | None = None,
    ) -> Task:
        """Enqueue one job and return the task it became, waiting or scheduled.

        Calls that are under way at the same time leave together, each with its own answer.
        Every option overrides the policy of the job's kind. When the connection breaks it is
        tried once more, with the same id, so that a task that was accepted is not doubled (one
        that has been accepted and has ended before the second try would be).

        Raises:
            DuplicateTaskError: It is unique and another one is on its way.
            TaskIdConflictError: The id is taken.
            QueueFullError: The queue is at its limit.
            PayloadTooLargeError: The encoded task is too large.
            DeadlinePassedError: It could only run after its deadline.
            BrokerDownError: The broker did not answer within its timeout.
        """
        request = Request(
            job=job,
            queue=queue,
            task_id=task_id,
            delay=delay,
            due=due,
            max_attempts=max_attempts,
            timeout=timeout,
            deadline=deadline,
            unique_for=unique_for,
            retention=retention,
            headers=headers,
            group=group,
        )
        now_ms = self._store.now_ms()
        item = prepare(request, now_ms, headers_of_current_span())
        answer = await self._gatherer.add(item.queue, item.new)
        found = result(item, answer, from_unix_ms(now_ms), self._limit(item.queue))
        if isinstance(found, DulyError):
            raise found
        return found

    async def start(self, flow: Node, *, flow_id: str | None = None) -> str:
        """Enqueue a chain or a group, whole or not at all; return its id.

        Its tasks get the flow's id and their places as ids: the first of a chain is "id.1".
        Members of a group do not count against `max_length`.

        Args:
            flow: Made by `duly.flow.chain` and `duly.flow.group`.
            flow_id: Chosen by the caller, so that a flow begun twice runs once at a time.

        Raises:
            ValueError: It is empty, too large, or could wait for ever.
            EnqueueError: As of `enqueue`, for the first task of a chain.
            BrokerDownError: It is not known whether it was accepted.
        """
        flow_id = flow_id or secrets.token_hex(16)
        now_ms = self._store.now_ms()
        origin = Origin(task_id="", headers=headers_of_current_span(), now_ms=now_ms)
        first = bounded(follow(plan(flow, flow_id), None, origin))
        if not first:
            raise ValueError("an empty flow")
        if len(first) > 1:
            await launch(self._store, first)
            return flow_id
        (task,), queue = first, first[0].queue
        new = task.new(now_ms)
        (answer,) = await self._add(queue, [new], whole=True)
        if refused := refusal(task.kind, new, queue, answer, self._limit(queue)):
            raise refused
        return flow_id

    async def enqueue_many(self, requests: Sequence[Request | Job]) -> list[Task]:
        """Enqueue several jobs, all or none for each queue (in batches of 500).

        Those with a group are added each for itself. Of more than 500 the next are encoded while
        the broker works on those before them, so one call with many is the fastest way.

        Raises:
            As `enqueue`, for the first task that was refused; nothing of its batch was stored.
        """
        results = await self.try_enqueue_many(requests, whole=True)
        for found in results:
            if isinstance(found, DulyError):
                raise found
        return [found for found in results if isinstance(found, Task)]

    async def try_enqueue_many(
        self, requests: Sequence[Request | Job], *, whole: bool = False
    ) -> list[Task | EnqueueError]:
        """Enqueue what can be; return for each the task, or why it was refused.

        Args:
            requests: Jobs, or jobs with options.
            whole: All of a queue's batch or none; those left out for another's sake are then
                reported as refused too.
        """
        if len(requests) <= BATCH:
            return await self._add_prepared(self._prepare(requests), whole=whole)
        results: list[Task | EnqueueError] = []
        sending: deque[asyncio.Task[list[Task | EnqueueError]]] = deque()
        try:
            for start in range(0, len(requests), BATCH):
                prepared = self._prepare(requests[start : start + BATCH])
                if len(sending) == _BATCHES_AHEAD:
                    results += await sending[0]
                    sending.popleft()
                sending.append(asyncio.create_task(self._add_prepared(prepared, whole=whole)))
                await asyncio.sleep(0)  # it leaves before the next are prepared
            while sending:
                results += await sending[0]
                sending.popleft()
        finally:
            # Where the next could not be prepared, or this call is cancelled: nothing is left to
            # go on by itself, nor an error that nobody looks at.
            if sending:
                await asyncio.wait(sending)
            for task in sending:
                if not task.cancelled():
                    task.exception()
        return results

    def _prepare(self, requests: Sequence[Request | Job]) -> list[Prepared]:
        now_ms, traced = self._store.now_ms(), headers_of_current_span()
        return [
            prepare(
                item if isinstance(item, Request) else Request(job=item),
                now_ms,
                traced,
                new_id=new_id,
            )
            for item, new_id in zip(requests, new_ids(len(requests)), strict=True)
        ]

    async def _add_prepared(
        self, prepared: list[Prepared], *, whole: bool
    ) -> list[Task | EnqueueError]:
        now = from_unix_ms(self._store.now_ms())
        answers: dict[str, Iterator[int | str]] = {}
        for queue in dict.fromkeys([item.queue for item in prepared]):
            part = [item.new for item in prepared if item.queue == queue]
            answers[queue] = iter(await self._add(queue, part, whole=whole))
        return [
            result(item, next(answers[item.queue]), now, self._limit(item.queue))
            for item in prepared
        ]

    # Plain functions where they only pass on: each coroutine on the way is felt by whoever
    # enqueues one task after the other.

    def _add_each(self, queue: str, tasks: list[NewTask]) -> Awaitable[list[int | str]]:
        return self._add(queue, tasks, whole=False)

    def _add(self, queue: str, tasks: list[NewTask], *, whole: bool) -> Awaitable[list[int | str]]:
        """Add tasks: to their groups those that have one and are due.

        These enter their groups each for itself, also with `whole`.
        """
        if len(tasks) <= BATCH and not any(map(_joins, tasks)):
            return self._surely(self._enter, queue, tasks, whole=whole)
        return self._add_by_batch(queue, tasks, whole=whole)

    async def _add_by_batch(
        self, queue: str, tasks: list[NewTask], *, whole: bool
    ) -> list[int | str]:
        answers = list[int | str]()
        for start in range(0, len(tasks), BATCH):
            batch = tasks[start : start + BATCH]
            joining = [task for task in batch if _joins(task)]
            joined = iter(await self._surely(self._join, queue, joining, whole=False))
            others = [task for task in batch if not _joins(task)]
            rest = iter(await self._surely(self._enter, queue, others, whole=whole))
            answers += [next(joined if _joins(task) else rest) for task in batch]
        return answers

    async def _surely(
        self, add: _Add, queue: str, batch: list[NewTask], *, whole: bool
    ) -> list[int | str]:
        """Add a batch; where its answer was lost on the way, what the broker has not got yet."""
        try:
            return await add(queue, batch, whole)
        except BrokerDownError as error:
            if error.timed_out:
                raise
        self._store.forget(queue)
        present = await self._store.present(queue, [task.id for task in batch])
        if whole and any(present):
            # All or none: those that are missing have been run already.
            return [accepted(task) for task in batch]
        missing = [task for task, there in zip(batch, present, strict=True) if not there]
        later = iter(await add(queue, missing, whole))
        return [
            accepted(task) if there else next(later)
            for task, there in zip(batch, present, strict=True)
        ]

    def _enter(
        self,
        queue: str,
        batch: list[NewTask],
        whole: bool,  # noqa: FBT001 - as _Add
    ) -> Awaitable[list[int | str]]:
        return self._store.add(queue, batch, max_length=self._limit(queue), whole=whole)

    async def _join(self, queue: str, batch: list[NewTask], _: bool) -> list[int | str]:  # noqa: FBT001 - as _Add
        if not batch:
            return []
        keys = await self._store.register(queue)
        found = await self._store.run(gather(keys, batch, max_length=self._limit(queue)))
        return [item if isinstance(item, int) else item.decode() for item in found]

    def _limit(self, queue: str) -> int:
        return self._limits.get(queue, _MAX_LENGTH)

    async def ping(self) -> None:
        """Return when the broker answers; refuse one that would lose tasks.

        Raises:
            BrokerDownError: No answer within the timeout.
            BrokerPolicyError: The broker evicts keys, and `redis.allow_eviction` is off.
        """
        await self._store.connection.check()


def _joins(task: NewTask) -> bool:
    """Tell whether a task enters a group now, not when it is due."""
    return task.group is not None and not task.due_ms
