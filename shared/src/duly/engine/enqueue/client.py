"""The producer's side: enqueue typed jobs."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Self

from duly.engine.enqueue.batcher import Batcher
from duly.engine.enqueue.declared_queues import DeclaredQueues
from duly.engine.enqueue.enqueuer import Enqueuer, Results, tasks_of
from duly.engine.enqueue.request import Request
from duly.engine.middleware.tracing import sending
from duly.engine.storage.store import BATCH, Store
from duly.errors import EnqueueError
from duly.flow import Node
from duly.job import Job
from duly.runtime.settings import QueueSettings, RedisSettings
from duly.task import Task

BATCHES_AHEAD = 2
"""Batches under way while the next is prepared, so that the broker always has one to work on."""


class Client:
    """Enqueues jobs. Safe to share between coroutines of one loop."""

    def __init__(
        self,
        store: Store,
        queues: Mapping[str, QueueSettings] | None = None,
        *,
        create_queues: bool = False,
    ) -> None:
        declared = DeclaredQueues(store, queues, create=create_queues)
        self._enqueuer = Enqueuer(store, declared)
        self._batcher = Batcher(self._enqueuer.adder.add)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        settings: RedisSettings,
        queues: Mapping[str, QueueSettings] | None = None,
        *,
        create_queues: bool = False,
    ) -> AsyncIterator[Self]:
        """Open the connections for the body of an `async with`, close them after it.

        Args:
            settings: The broker.
            queues: The queues that are served, as `Settings.queues`: a call that names another is
                refused, unless the broker knows it. None: those that the broker knows and those of
                the jobs' own policies; any before a worker or scheduler has published its kinds.
            create_queues: Any queue will do, and becomes known by the first task that it gets.
        """
        async with Store.open(settings) as store:
            yield cls(store, queues, create_queues=create_queues)

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
        Every option overrides the policy of the job's kind. When the connection breaks the call
        is tried once more, with the same id, so that a task that was accepted is not doubled
        (unless it has already ended by the second try).

        Args:
            job: What is to be done. The handler gets it as it is here, or it is refused.
            queue: Where it waits.
            task_id: 1 to 256 printable characters, not ending with `/message`; another task with
                the same id is refused.
            delay: How long it waits before it may run; zero: not at all. Not together with `due`.
            due: When it may run, with a time zone.
            max_attempts: Runs in all, 1 to 1,000.
            timeout: How long one attempt may run, a millisecond at least.
            deadline: After it no attempt begins or continues, and the task is archived.
            unique_for: Refuse another task of its kind and payload for this long, or until this
                one ends; zero: refuse none.
            retention: How long it can be looked at after it has succeeded; zero: not at all.
            headers: Text by text, for the handler's context. Names that begin with `duly-` are
                duly's own, and are left out.
            group: It waits for others of its kind and this group, to be merged into one task.

        Raises:
            InvalidPayloadError: A field would not arrive as it is; it is named.
            InvalidOptionError: An option is wrong, or nobody declares the queue.
            DuplicateTaskError: It is unique, and another one has not ended.
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
        with sending(request.queue or job.policy.queue, job.kind) as span:
            item = self._enqueuer.prepared(request)
            if not self._enqueuer.takes(item):
                await self._enqueuer.check(item)
            answer = await self._batcher.add(item.queue, item.new)
            task = self._enqueuer.accepted(item, answer)
            if span is not None:
                span.set_attribute("messaging.message.id", task.id)
            return task

    async def start(self, flow: Node, *, flow_id: str | None = None) -> str:
        """Enqueue a chain or a group, whole or not at all; return its id.

        Its tasks get the flow's id and their places as ids: the first of a chain is "id.1".
        Members of a group do not count against `max_length`.

        Args:
            flow: Made by `duly.flow.chain` and `duly.flow.group`.
            flow_id: Chosen by the caller, so that a flow begun twice runs once at a time.

        Raises:
            ValueError: It is empty, too large, or could wait forever.
            EnqueueError: As of `enqueue`, for any task of it.
            BrokerDownError: It is not known whether it was accepted.
        """
        with sending("", ""):
            return await self._enqueuer.start(flow, flow_id)

    async def enqueue_many(self, requests: Iterable[Request | Job]) -> list[Task]:
        """Enqueue several jobs, all or none of each batch for a queue.

        A batch is 500 jobs, or fewer that take 16 MiB. Those with a group are added each by
        itself. While the broker works on one batch the next are encoded, so that one call with
        many is the fastest way. An iterator is read batch by batch.

        Args:
            requests: Jobs, or jobs with options.

        Raises:
            EnqueueError: As of `enqueue`, for the first task that was refused; nothing of its
                batch was stored, and what is wrong in itself keeps back all that follow it.
            BrokerDownError: The broker did not answer within its timeout.
        """
        return tasks_of(await self.try_enqueue_many(requests, whole=True))

    async def try_enqueue_many(
        self, requests: Iterable[Request | Job], *, whole: bool = False
    ) -> list[Task | EnqueueError]:
        """Enqueue what can be; return for each the task, or why it was refused.

        Args:
            requests: Jobs, or jobs with options.
            whole: All of a queue's batch or none; those left out for another's sake are then
                reported as refused too. What is wrong in itself is raised, not returned.
        """
        with sending("", "") as span:
            results = await self._enqueue_many(requests, whole=whole)
            if span is not None:
                span.set_attribute("messaging.batch.message_count", len(results))
            return results

    async def _enqueue_many(self, requests: Iterable[Request | Job], *, whole: bool) -> Results:
        add_many, results = self._enqueuer.add_many, Results()
        sending: deque[asyncio.Task[Results]] = deque()
        coming = iter(requests)
        try:
            while chunk := list(islice(coming, BATCH)):
                prepared = await self._enqueuer.prepared_many(chunk, whole=whole)
                if len(chunk) < BATCH and not sending:
                    return results + await add_many(prepared, whole=whole)
                if len(sending) == BATCHES_AHEAD:
                    results += await sending[0]
                    sending.popleft()
                sending.append(asyncio.create_task(add_many(prepared, whole=whole)))
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

    async def ping(self) -> None:
        """Return when the broker answers; refuse one that would lose tasks.

        Raises:
            BrokerDownError: No answer within the timeout.
            BrokerPolicyError: The broker evicts keys, and `redis.allow_eviction` is off.
        """
        await self._enqueuer.ping()
