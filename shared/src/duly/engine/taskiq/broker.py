"""The broker of a taskiq application: taskiq-redis's stream broker, on duly's queues."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from taskiq import AckableMessage, AsyncBroker
from taskiq.message import BrokerMessage
from typing_extensions import override

from duly.engine.storage.codec import decode
from duly.engine.storage.store import Store
from duly.engine.taskiq.calls import current
from duly.engine.taskiq.labels import policy_of, wish_of
from duly.engine.taskiq.results import Results
from duly.engine.taskiq.sending import Sender, by_name, is_unique
from duly.engine.taskiq.settings import place_of, settings_of
from duly.errors import ConfigError, EnqueueError, MalformedTaskError
from duly.job import NAME_PATTERN, Policy, is_name
from duly.runtime.settings import QueueSettings, RedisSettings

if TYPE_CHECKING:
    from duly.engine.worker.server import Server


class DulyBroker(AsyncBroker):
    """A taskiq broker on duly's queues: it takes the place of taskiq-redis's `RedisStreamBroker`.

    Tasks, labels, middlewares, dependencies, events, schedules and result backends stay as they
    are. `duly worker` runs them with every promise of the engine, and so does `taskiq worker` with
    `--receiver duly:DulyReceiver`; with its own receiver it keeps those that the receiver allows.

    >>> DulyBroker("redis://127.0.0.1", queue_name="low").queue_name
    'low'

    Connections are opened when they are first used, for the event loop that uses them.

    Args:
        url: `redis://`, `rediss://` or `unix://`; or the settings, for sentinels or a Cluster.
        queue_name: The queue of tasks whose `queue_name` label names none: `a-z`, `0-9`, `_`, `.`
            and `-`.
        maxlen: Waiting and active tasks that a queue holds; more are refused, nothing is dropped.
            None: a million.
        additional_streams: Further queues that workers read; the values mean nothing here.
        retention: How long a task that has succeeded is kept with its result, which can be waited
            for then without another result backend, where neither its labels nor its policy say.
            None: not at all.
        policy: How tasks are run whose decorator has no `duly_policy`; None: once, without a
            timeout, as taskiq does.
        arguments: What else `RedisStreamBroker` takes: options of the connection are obeyed, those
            that mean nothing here are ignored, with a warning.

    Raises:
        ConfigError: An argument is wrong, or not known.
    """

    def __init__(
        self,
        url: str | RedisSettings,
        queue_name: str = "default",
        *,
        maxlen: int | None = None,
        additional_streams: Mapping[str, object] | None = None,
        retention: timedelta | None = None,
        policy: Policy | None = None,
        **arguments: Any,  # noqa: ANN401 - of redis-py
    ) -> None:
        super().__init__()
        self.settings = settings_of(url, arguments)
        self.queue_name, self.maxlen = queue_name, maxlen
        self._lengths = _lengths(maxlen)
        self.queues = {_checked(name): 1 for name in (queue_name, *(additional_streams or {}))}
        """Queue → weight, of those that workers read."""
        self.policy, self.retention = policy, retention
        self.result_backend = Results(self._opened)
        self._resources = AsyncExitStack()
        self._open: tuple[asyncio.AbstractEventLoop, Store, Sender] | None = None

    @override
    async def startup(self) -> None:
        """Call the event's functions, start middlewares and backend, and make the queue known.

        Raises:
            BrokerDownError: The broker did not answer.
        """
        await super().startup()
        store = await self._opened()
        for queue in self.queues:
            await store.register(queue)

    @override
    async def shutdown(self) -> None:
        """Undo `startup`, and close the connections."""
        resources, self._resources, self._open = self._resources, AsyncExitStack(), None
        try:
            await super().shutdown()
        finally:
            await resources.aclose()

    @override
    async def kick(self, message: BrokerMessage) -> None:
        """Add a task to its queue; taskiq wraps what is raised into `SendTaskError`.

        What a task sends under its own id takes its place when the attempt has ended: that is how
        taskiq's middlewares retry, and `Context.requeue` puts back.

        Args:
            message: As the formatter has made it; JSON in taskiq's form.

        Raises:
            EnqueueError: It was refused, and nothing was stored.
            BrokerDownError: The broker did not answer within its timeout.
        """
        try:
            found = decode(message.message)
        except MalformedTaskError as error:
            raise EnqueueError(
                f"{message.task_name}: its message is {error.reason}: duly carries JSON, so use "
                "taskiq's JSONSerializer or ORJSONSerializer"
            ) from None
        task = self.find_task(found.task_name)
        wish = wish_of(found, task.labels if task is not None else {})
        queue = wish.queue or self.queue_name
        call = current()
        if call is not None and call.is_of(queue, found.task_id):
            call.send_again(found)
            return
        policy = policy_of(task, self.policy)
        if is_unique(wish, policy):
            found = by_name(found, task)
        await (await self._sender()).send(queue, found, wish, policy)

    @override
    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Yield tasks to taskiq's own receiver, as many as it asks for.

        A server behind it keeps their leases, and settles what is acknowledged. What is not yet
        acknowledged when the broker is shut down waits again.

        Raises:
            BrokerPolicyError: The broker would lose tasks.
        """
        from duly.engine.taskiq.listening import Listening

        await self._ready()
        listening = await self._resources.enter_async_context(Listening.begin(self))
        try:
            while True:
                yield await listening.next()
        finally:
            listening.end()

    @asynccontextmanager
    async def serve(self, server: "Server") -> AsyncIterator[None]:
        """Make a server run the tasks for the body of an `async with`.

        The broker counts as a worker's: `WORKER_STARTUP` and `WORKER_SHUTDOWN` are its events. All
        modules with tasks must have been imported.

        Args:
            server: Reads at least `queues`.

        Raises:
            ConfigError: It reads from another place than the one that this broker sends to.
            InvalidOptionError: A label of a decorator asks for what cannot be done.
        """
        from duly.engine.taskiq.execution import Execution

        read = server.jobs.store.connection
        if place_of(read.settings) != place_of(self.settings):
            problem = f"the broker sends its tasks to another place than {read.address}"
            raise ConfigError("redis", problem, remedy="write the address in both in the same way")
        Execution(self).register(server)
        self.is_worker_process = True
        await self.startup()
        try:
            yield
        finally:
            await self.shutdown()

    async def _opened(self) -> Store:
        """Return the connection of the running loop, opened when there is none."""
        return (await self._ready())[1]

    async def _sender(self) -> Sender:
        return (await self._ready())[2]

    async def _ready(self) -> tuple[asyncio.AbstractEventLoop, Store, Sender]:
        loop = asyncio.get_running_loop()
        if self._open is None or self._open[0] is not loop:
            # What another loop has opened went with it.
            self._resources = AsyncExitStack()
            store = await self._resources.enter_async_context(Store.open(self.settings))
            sender = Sender(store, dict.fromkeys(self.queues, self._lengths))
            self._open = loop, store, sender
        return self._open


def _lengths(maxlen: int | None) -> QueueSettings:
    try:
        return QueueSettings() if maxlen is None else QueueSettings(max_length=maxlen)
    except ValidationError:
        problem = f"{maxlen!r} is not a number of tasks"
        raise ConfigError("DulyBroker.maxlen", problem, remedy="use 1 or more") from None


def _checked(queue: str) -> str:
    if not is_name(queue):
        problem = f"{queue!r} is not the name of a queue"
        raise ConfigError("DulyBroker.queue_name", problem, remedy=f"use {NAME_PATTERN}")
    return queue
