"""The broker that taskiq sees: taskiq-redis's stream broker, with duly's transitions under it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from taskiq import AckableMessage, TaskiqMessage
from taskiq.abc.formatter import TaskiqFormatter
from taskiq.message import BrokerMessage
from taskiq.serializers import JSONSerializer
from taskiq_redis import RedisStreamBroker
from typing_extensions import override

from duly.clock import to_ms
from duly.engine.enqueue.request import is_accepted, refusal
from duly.engine.storage.codec import Message, decode, encode, payload_reader
from duly.engine.storage.keys import GROUP, queue_keys
from duly.engine.storage.limits import limit_of
from duly.engine.storage.scripts import Limit, NewTask
from duly.engine.storage.store import Store
from duly.engine.worker.processes.inherited import told
from duly.engine.worker.processes.messages import Broker
from duly.engine.worker.processes.pool import Target
from duly.engine.worker.received import Received, received
from duly.job import Job
from duly.payload import form_of
from duly.runtime.returned import is_generator, result_of
from duly.runtime.settings import QueueSettings
from duly.runtime.threads import is_async
from duly.task import TaskContext

Handler = Callable[[Any, TaskContext], Awaitable[Any]] | Callable[[Any, TaskContext], Any]
"""Runs a job: called with the typed payload and the task's context."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """How the tasks of one kind are run, worked out once."""

    job: type[Job] | None
    """None: its tasks are no jobs, but calls of a taskiq application."""
    read: Callable[[Message], Job]
    """Returns a task's payload."""
    handler: Handler
    is_async: bool
    max_attempts: int
    timeout_ms: int
    retention_ms: int
    limit: Limit | None = None
    """What its tasks must ask for before they run; None: nothing."""
    target: Target | None = None
    """What a process is to run in place of the handler; None: it runs here."""


class WireFormatter(TaskiqFormatter):
    """taskiq's message in our JSON: what stock taskiq writes and reads."""

    @override
    def dumps(self, message: TaskiqMessage) -> BrokerMessage:
        """Encode a message."""
        data = encode(
            Message(
                task_id=message.task_id,
                task_name=message.task_name,
                labels=message.labels,
                labels_types=message.labels_types,
                args=message.args,
                kwargs=message.kwargs,
            )
        )
        return BrokerMessage(
            task_id=message.task_id,
            task_name=message.task_name,
            message=data,
            labels=message.labels,
        )

    @override
    def loads(self, message: bytes) -> TaskiqMessage:
        """Decode a message.

        Raises:
            MalformedTaskError: It is not one.
        """
        found = decode(message)
        return TaskiqMessage(
            task_id=found.task_id,
            task_name=found.task_name,
            labels=found.labels,
            labels_types=found.labels_types,
            args=found.args,
            kwargs=found.kwargs,
        )


class JobBroker(RedisStreamBroker):
    """A taskiq broker over one or more queues, whose tasks are jobs with handlers.

    taskiq's own entry points work too: `.kiq()` of a task registered here, and any stock producer
    that writes to the queue's stream.

    Args:
        store: The transitions; its connection is used for everything.
        queues: Queue name → weight, for the worker's reads; the first one is taskiq's default.
        server: This process's id, the consumer's name in the stream's group.
        max_length: Most waiting and active tasks in a queue.
    """

    def __init__(
        self,
        store: Store,
        queues: dict[str, int],
        *,
        server: str,
        max_length: int = 1_000_000,
    ) -> None:
        self.store = store
        self.queues = queues
        self.server = server
        self.handlers: dict[str, HandlerSpec] = {}
        self.declared: Mapping[str, QueueSettings] | None = None
        """Queues that handlers in processes enqueue to; None: those that the broker knows."""
        self._max_length = max_length
        self._first = next(iter(queues))
        # The base class wants an address for a pool of its own, which it never gets to open.
        super().__init__(
            "redis://unused.invalid",
            queue_name=queue_keys(self._first).stream,
            consumer_group_name=GROUP,
            consumer_name=server,
            consumer_id="0",
        )
        self.with_serializer(JSONSerializer())
        self.with_formatter(WireFormatter())

    def handle(
        self,
        job: type[Job],
        handler: Handler,
        *,
        run_in: Literal["here", "process"] = "here",
        hard_timeout: timedelta | None = None,
    ) -> None:
        """Register what runs the tasks of one kind of job: see `Server.handle`."""
        if is_generator(handler):
            raise TypeError(f"{handler!r}: a handler returns its result, it cannot yield")
        policy, form = job.policy, form_of(job)
        self.handlers[job.kind] = HandlerSpec(
            job,
            payload_reader(job),
            handler,
            is_async(handler),
            max_attempts=policy.max_attempts,
            timeout_ms=to_ms(policy.timeout),
            retention_ms=to_ms(policy.retention),
            limit=limit_of(policy),
            target=Target.of(job, handler, hard_timeout) if run_in == "process" else None,
        )

        async def run(**payload: Any) -> Any:  # noqa: ANN401 - what the handler returns
            context = TaskContext(id="", queue=self._first, kind=job.kind)
            return await result_of(handler(form.decode(payload), context))

        self.register_task(run, task_name=job.kind)

    def told_to_processes(self) -> Broker:
        """Return what child processes are told, so that their handlers enqueue."""
        return told(self.store.connection.settings, self.declared)

    def classes(self) -> list[type[Job]]:
        """Return the jobs that have a handler."""
        return [spec.job for spec in self.handlers.values() if spec.job is not None]

    @override
    async def startup(self) -> None:
        """Make the queues known, each with its stream and group."""
        for queue in self.queues:
            await self.store.register(queue)

    @override
    async def shutdown(self) -> None:
        """Do nothing: whoever opened the store closes it."""

    @override
    async def kick(self, message: BrokerMessage) -> None:
        """Add one task that taskiq made.

        Raises:
            TaskIdConflictError: Its id is taken.
            QueueFullError: The queue is at its limit.
            BrokerDownError: The broker did not answer.
        """
        queue = str(message.labels.get("queue_name") or self._first)
        task = NewTask(id=message.task_id, data=message.message)
        (answer,) = await self.store.add(queue, [task], max_length=self._max_length)
        if not is_accepted(answer):
            raise refusal(message.task_name, task, queue, answer, self._max_length)

    @override
    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Yield the tasks of the first queue to a stock receiver, one at a time.

        Our own receiver reads in batches instead; this serves `taskiq worker` and tests.
        """
        reader = self.store.reader(self._first)
        try:
            while True:
                for delivery in await reader.read(server=self.server, count=1, block_ms=2_000):
                    ack = partial(self._acknowledge, received(self._first, delivery))
                    yield AckableMessage(data=delivery.data or b"", ack=ack)
        finally:
            await reader.close()

    async def _acknowledge(self, task: Received) -> None:
        """Settle a task that a stock receiver has run."""
        await self.store.complete(
            task.queue,
            stream_ids=[task.delivery.stream_id],
            ids=[task.task_id],
            kinds=[task.message.task_name if task.message else "-"],
            locks=[task.lock],
            dirty=True,
        )
