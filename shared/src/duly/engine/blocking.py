"""The client for code without an event loop: the same calls, waiting instead of awaited."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from duly.engine.client import Client
from duly.engine.requests import Request
from duly.errors import DulyError, EnqueueError
from duly.flow import Node
from duly.job import Job
from duly.runtime.settings import QueueSettings, RedisSettings
from duly.task import Task

T = TypeVar("T")


class BlockingClient:
    """Enqueues jobs from any thread; calls of several threads leave in one write.

    One loop in a thread of its own serves them all, so this is no second implementation, and a
    web application with many threads needs one of these, not one each.

    >>> with BlockingClient(settings.redis) as client:  # doctest: +SKIP
    ...     client.enqueue(SendInvoice(order_id=7), delay=timedelta(minutes=5))
    """

    def __init__(
        self, settings: RedisSettings, queues: Mapping[str, QueueSettings] | None = None
    ) -> None:
        self._settings, self._queues = settings, queues
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._closing: asyncio.Event | None = None
        self._holding: Any = None

    def __enter__(self) -> Self:
        """Start the loop. The broker is asked at the first call, not here."""
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="duly", daemon=True)
        self._thread.start()
        opened = threading.Event()

        async def hold() -> None:
            self._closing = asyncio.Event()
            async with Client.connect(self._settings, self._queues) as client:
                self._client = client
                opened.set()
                await self._closing.wait()

        self._holding = asyncio.run_coroutine_threadsafe(hold(), loop)
        self._holding.add_done_callback(lambda _: opened.set())
        opened.wait()
        if self._client is None:
            self._holding.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection and end the loop."""
        if self._loop is None:
            return
        if self._closing is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._holding.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._client = None

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
        client, loop = self._open()
        call = client.enqueue(
            job,
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
        return _wait(call, loop)

    def enqueue_many(self, requests: Sequence[Request | Job]) -> list[Task]:
        """Enqueue several jobs, all or none; see `Client.enqueue_many`."""
        client, loop = self._open()
        return _wait(client.enqueue_many(requests), loop)

    def start(self, flow: Node, *, flow_id: str | None = None) -> str:
        """Enqueue a chain or a group, whole or not at all; see `Client.start`."""
        client, loop = self._open()
        return _wait(client.start(flow, flow_id=flow_id), loop)

    def try_enqueue_many(self, requests: Sequence[Request | Job]) -> list[Task | EnqueueError]:
        """Enqueue what can be; see `Client.try_enqueue_many`."""
        client, loop = self._open()
        return _wait(client.try_enqueue_many(requests), loop)

    def _open(self) -> tuple[Client, asyncio.AbstractEventLoop]:
        if self._client is None or self._loop is None:
            raise DulyError("the client is not open: use it as a context manager")
        return self._client, self._loop


def _wait(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
