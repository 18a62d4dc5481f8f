"""The receiver of `taskiq worker --receiver duly:DulyReceiver`: a server of duly's in its place."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import timedelta
from typing import Any

from taskiq import AsyncBroker
from taskiq.receiver import Receiver
from typing_extensions import override

from duly.engine.middleware import Ended, Middleware
from duly.engine.taskiq.broker import DulyBroker
from duly.engine.taskiq.execution import Execution
from duly.engine.taskiq.logs import log_through_logging
from duly.engine.worker.server import Server, ServerOptions
from duly.errors import ConfigError

_CONCURRENCY = 100
_DRAIN = timedelta(seconds=25)


class DulyReceiver(Receiver):
    """Runs the tasks of a `DulyBroker` with every promise of the engine, in `taskiq worker`.

    What its options mean here: `--max-async-tasks` is the concurrency, `--wait-tasks-timeout` the
    time that running tasks have after the stop (25 s unless given), `--max-tasks-per-child` the
    attempts after which the process is replaced. `--max-prefetch`, `--ack-type` and the thread pool
    mean nothing: a task is read when there is a slot for it, settled when it has ended, and a plain
    function has a thread of its own.
    """

    def __init__(
        self,
        broker: AsyncBroker,
        executor: Executor | None = None,
        *,
        max_async_tasks: int | None = None,
        **options: Any,  # noqa: ANN401 - taskiq's own
    ) -> None:
        """Check what the command line says.

        Raises:
            ConfigError: The broker is none of duly's, or plain functions are to run in a pool of
                processes.
        """
        if not isinstance(broker, DulyBroker):
            problem = f"runs the tasks of a DulyBroker, not of a {type(broker).__name__}"
            raise ConfigError("--receiver duly:DulyReceiver", problem, remedy="leave it out")
        if isinstance(executor, ProcessPoolExecutor):
            remedy = 'declare a Job, and handle it with run_in="process"'
            raise ConfigError("--use-process-pool", "is not supported", remedy=remedy)
        concurrency = max_async_tasks if max_async_tasks and max_async_tasks > 0 else _CONCURRENCY
        super().__init__(broker, executor, max_async_tasks=concurrency, **options)
        self._duly_broker, self._concurrency = broker, concurrency

    @override
    async def listen(self, finish_event: asyncio.Event) -> None:
        """Run as many tasks as the process may, or until it is told to finish; then drain.

        Args:
            finish_event: Tells it so once it is set.

        Raises:
            BrokerPolicyError: The broker would lose tasks.
        """
        log_through_logging()
        wait = self.wait_tasks_timeout
        options = ServerOptions(
            queues=self._duly_broker.queues,
            concurrency=self._concurrency,
            drain=_DRAIN if wait is None else timedelta(seconds=wait),
        )
        limit = () if not self.max_tasks_to_execute else (
            _Limit(self.max_tasks_to_execute, finish_event.set),
        )  # fmt: skip
        execution = Execution(
            self._duly_broker,
            propagates=self.propagate_exceptions,
            validates=self.validate_params,
        )
        async with Server.open(self._duly_broker.settings, options, middlewares=limit) as server:
            execution.register(server)
            if self.run_startup:
                await self._duly_broker.startup()
            # Whoever has made this receiver shuts the broker down.
            await server.run(finish_event)
        if self.on_exit is not None:
            self.on_exit(self)


class _Limit(Middleware):
    """Ends the server after so many attempts."""

    def __init__(self, attempts: int, end: Callable[[], None]) -> None:
        self._left, self._end = attempts, end

    @override
    def ended(self, end: Ended) -> None:
        """Count one."""
        self._left -= 1
        if self._left == 0:
            self._end()
