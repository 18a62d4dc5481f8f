"""The client for code without an event loop: the same calls, waiting instead of awaited."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self

from duly.engine.enqueue.client import BATCHES_AHEAD
from duly.engine.enqueue.enqueuer import Enqueuer, Results, tasks_of
from duly.engine.enqueue.request import Request
from duly.engine.enqueue.sessions import Sessions
from duly.engine.middleware.tracing import sending
from duly.engine.storage.store import BATCH
from duly.engine.transport.turns import Begun, finished
from duly.errors import DulyError, EnqueueError
from duly.flow import Node
from duly.job import Job
from duly.runtime.settings import QueueSettings, RedisSettings
from duly.task import Task


class BlockingClient:
    """Enqueues jobs from any thread, over a few connections that all threads share.

    A web application with many threads needs one of these, not one each: a call uses a connection
    for itself and gives it back. There are 16 at most; further calls wait for one of them.

    It may be opened before `os.fork` (gunicorn's `--preload`, multiprocessing, Celery's prefork):
    each process opens connections of its own at its first calls.

    >>> with BlockingClient(settings.redis) as client:  # doctest: +SKIP
    ...     client.enqueue(SendInvoice(order_id=7), delay=timedelta(minutes=5))
    """

    def __init__(
        self,
        settings: RedisSettings,
        queues: Mapping[str, QueueSettings] | None = None,
        *,
        create_queues: bool = False,
    ) -> None:
        self._open = partial(Sessions, settings, queues, create_queues=create_queues)
        self._lock = threading.Lock()
        self._is_open = False
        self._sessions: Sessions | None = None
        _clients.add(self)

    def __enter__(self) -> Self:
        """Check the settings. The broker is asked at the first call, not here."""
        self._is_open = True
        try:
            self._opened()
        except BaseException:
            self._is_open = False
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close this process's connections; calls of other threads that are under way fail."""
        with self._lock:
            sessions, self._sessions, self._is_open = self._sessions, None, False
        if sessions is not None:
            sessions.close()

    def enqueue(
        self,
        job: Job,
        *,
        queue: str | None = None,
        task_id: str | None = None,
        delay: timedelta | None = None,
        due: datetime | None = None,
        max_attempts: int | None = None,
        timeout: timedelta | None = None,
        deadline: datetime | None = None,
        unique_for: timedelta | None = None,
        retention: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        group: str | None = None,
    ) -> Task:
        """Enqueue one job; see `Client.enqueue` for its options and errors."""
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
        queue = request.queue or job.policy.queue
        with self._opened().take() as enqueuer, sending(queue, job.kind) as span:
            task = finished(enqueuer.enqueue(request))
            if span is not None:
                span.set_attribute("messaging.message.id", task.id)
            return task

    def enqueue_many(self, requests: Iterable[Request | Job]) -> list[Task]:
        """Enqueue several jobs, all or none of each batch; see `Client.enqueue_many`."""
        return tasks_of(self.try_enqueue_many(requests, whole=True))

    def start(self, flow: Node, *, flow_id: str | None = None) -> str:
        """Enqueue a chain or a group, whole or not at all; see `Client.start`."""
        with self._opened().take() as enqueuer, sending("", ""):
            return finished(enqueuer.start(flow, flow_id))

    def try_enqueue_many(
        self, requests: Iterable[Request | Job], *, whole: bool = False
    ) -> list[Task | EnqueueError]:
        """Enqueue what can be; see `Client.try_enqueue_many`."""
        with self._opened().take() as enqueuer, sending("", "") as span:
            results = _added(enqueuer, requests, whole=whole)
            if span is not None:
                span.set_attribute("messaging.batch.message_count", len(results))
            return results

    def ping(self) -> None:
        """Return when the broker answers; refuse one that would lose tasks. See `Client.ping`."""
        with self._opened().take() as enqueuer:
            finished(enqueuer.ping())

    def _opened(self) -> Sessions:
        """Return the sessions of this process; open them at the first call after a fork."""
        sessions = self._sessions
        if sessions is not None:
            return sessions
        with self._lock:
            if not self._is_open:
                raise DulyError("the client is not open: use it as a context manager")
            if self._sessions is None:
                self._sessions = self._open()
            return self._sessions

    def forked(self) -> None:
        """Forget, in a child, what belongs to its parent."""
        # Another thread may have held the lock; it is not in the child.
        self._lock, sessions = threading.Lock(), self._sessions
        self._sessions = None
        if sessions is not None:
            sessions.abandon()
            _inherited.append(sessions)


def _added(enqueuer: Enqueuer, requests: Iterable[Request | Job], *, whole: bool) -> Results:
    """Add requests batch by batch; while the broker works on one the next are prepared."""
    results = Results()
    sending: deque[Begun[Results]] = deque()
    coming = iter(requests)
    try:
        while chunk := list(islice(coming, BATCH)):
            prepared = finished(enqueuer.prepared_many(chunk, whole=whole))
            if len(sending) == BATCHES_AHEAD:
                results += sending.popleft().result()
            sending.append(Begun(enqueuer.add_many(prepared, whole=whole)))
        while sending:
            results += sending.popleft().result()
    finally:
        # Where the next could not be prepared: those under way are not left half done.
        for begun in sending:
            with suppress(Exception):
                begun.result()
    return results


_clients: "weakref.WeakSet[BlockingClient]" = weakref.WeakSet()
_inherited: list[Sessions] = []
"""Of a parent: kept, since an end of their loop in the child would disturb the parent."""


def _after_fork() -> None:
    for client in list(_clients):
        client.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
