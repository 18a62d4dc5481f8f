"""Feeds taskiq's own receiver: a server reads and settles, the receiver runs.

Each task of the server is handed to the receiver, and the server waits until the receiver has
acknowledged it: so the lease is kept, and a failure is retried or archived, as it always is. What
the receiver does not tell its broker, a middleware of ours notes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from taskiq import AckableMessage, TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq.exceptions import NoResultError
from typing_extensions import override

from duly.engine.taskiq.calls import Call, current, enter, running
from duly.engine.taskiq.execution import Execution
from duly.engine.taskiq.labels import unpacked
from duly.engine.taskiq.logs import log_through_logging
from duly.engine.worker.server import Server, ServerOptions
from duly.errors import DulyError
from duly.task import TaskContext

if TYPE_CHECKING:
    from duly.engine.taskiq.broker import DulyBroker

_DRAIN = timedelta(seconds=1)
"""What has not been acknowledged by the time the broker is shut down has been given up."""
_GRACE = 5.0
"""Seconds that the receiver has to end what is over."""


class Handover:
    """A task that the receiver has, and what is known of it so far."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.error: BaseException | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._begun = False
        self._task: asyncio.Task[Any] | None = None

    async def acknowledge(self) -> None:
        """Let the server settle it, as what is known of it says."""
        self.call.acknowledge()
        if not self._begun:
            self.error = RuntimeError("the receiver did not run it")
        if not self.call.is_manual:
            self._end()

    def begin(self) -> None:
        """Note that it runs in this asyncio task, after which it is over in any case."""
        self._begun = True
        enter(self.call)
        self._task = asyncio.current_task()
        if self._task is not None:
            self._task.add_done_callback(self._left)

    async def time_out(self) -> None:
        """End it since its time is over: the receiver knows of `timeout` only, and ends that."""
        if "timeout" in self.call.message.labels:
            await asyncio.wait({self.over}, timeout=_GRACE)
        if not self.over.done() and self._task is not None:
            self._task.cancel()
            await asyncio.wait({self.over}, timeout=_GRACE)
        if not isinstance(self.error, TimeoutError):
            self.error = TimeoutError()

    def _left(self, task: "asyncio.Task[Any]") -> None:
        if self.over.done():
            return
        if task.cancelled():
            self.error = asyncio.CancelledError()
        else:
            self.error = task.exception() or self.error
        if self.error is None and not self.call.acknowledged:
            self.error = RuntimeError("the receiver has ended without an acknowledgement of it")
        self._end()

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


class Verdicts(TaskiqMiddleware):
    """Notes what becomes of the tasks that the receiver has: the first to begin, last to hear."""

    def __init__(self, handovers: dict[str, Handover]) -> None:
        super().__init__()
        self._handovers = handovers

    @override
    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Note that a task begins."""
        if (handover := self._handovers.get(message.task_id)) is not None:
            handover.begin()
        return message

    @override
    def on_error(
        self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException
    ) -> None:
        """Note the error of a task; one that is to run again has no result yet."""
        if (handover := self._handovers.get(message.task_id)) is not None:
            handover.error = exception
            if handover.call.will_run_again(exception):
                result.error = NoResultError()


def _current_context() -> TaskContext:
    call = current()
    if call is None or call.context is None:
        raise RuntimeError("no task of duly runs here")
    return call.context


class Listening:
    """Hands the tasks of a server to the receiver."""

    def __init__(self, broker: "DulyBroker", server: Server) -> None:
        self._broker, self._server = broker, server
        self._handovers: dict[str, Handover] = {}
        self._ready: asyncio.Queue[AckableMessage | None] = asyncio.Queue()
        execution = Execution(broker)
        execution.register(server, self._hand_over)
        if execution.uses(TaskContext):
            broker.dependency_overrides[TaskContext] = _current_context
        self._verdicts = Verdicts(self._handovers)
        self._serving: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def begin(cls, broker: "DulyBroker") -> AsyncIterator[Self]:
        """Start a server for a broker; it is stopped after the body of the `async with`."""
        log_through_logging()
        options = ServerOptions(queues=broker.queues, concurrency=1, drain=_DRAIN)
        async with Server.open(broker.settings, options) as server:
            self, stop = cls(broker, server), asyncio.Event()
            broker.middlewares.insert(0, self._verdicts)
            self._serving = serving = asyncio.get_running_loop().create_task(server.run(stop))
            serving.add_done_callback(lambda _: self._ready.put_nowait(None))
            try:
                yield self
            finally:
                stop.set()
                with contextlib.suppress(DulyError):  # `next` has raised it
                    await serving
                broker.middlewares.remove(self._verdicts)

    async def next(self) -> AckableMessage:
        """Return the next task; the server reads one more than the receiver has.

        Raises:
            DulyError: The server has ended, and why.
        """
        self._server.receiver.allow(len(self._handovers) + 1)
        message = await self._ready.get()
        if message is None:
            if self._serving is not None:
                self._serving.result()
            raise DulyError("the server behind this receiver has stopped")
        return message

    def end(self) -> None:
        """Take no more tasks; those that the receiver has are settled when it acknowledges them."""
        self._server.quiet()

    async def _hand_over(self, call: Call, context: TaskContext) -> Any:  # noqa: ANN401 - the task's
        """Return what is kept of a task when the receiver has done; raise what it ended with."""
        while (other := self._handovers.get(context.id)) is not None:  # of another queue
            await asyncio.wait({other.over})
            await asyncio.sleep(0)
        handover = self._handovers[context.id] = Handover(call)
        data = self._broker.formatter.dumps(unpacked(call.travelled)).message
        try:
            with running(call, context):
                self._ready.put_nowait(AckableMessage(data=data, ack=handover.acknowledge))
                await self._until_over(handover, context)
                call.conclude(handover.error)
                return call.kept
        finally:
            del self._handovers[context.id]

    async def _until_over(self, handover: Handover, context: TaskContext) -> None:
        try:
            await asyncio.shield(handover.over)
        except asyncio.CancelledError:
            if not context.timed_out:
                raise
            await handover.time_out()
