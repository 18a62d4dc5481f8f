"""A worker serves an application: its lifespans are open, and its handlers run the tasks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from duly.app.calls import Provided
from duly.app.declaration import App
from duly.app.provision import provided
from duly.app.resources import opened
from duly.engine.enqueue.client import Client
from duly.engine.worker.server import Server
from duly.errors import DulyError
from duly.runtime.settings import Settings


class StoppedError(DulyError):
    """The worker was told to stop while it opened its lifespans; they are closed again."""

    def __init__(self, app: str) -> None:
        super().__init__(f"stopped while the lifespans of {app} were being opened")


@asynccontextmanager
async def serving(
    app: App,
    server: Server,
    settings: Settings,
    stop: asyncio.Event,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[None]:
    """Register the handlers of an application with a server, for the body of an `async with`.

    What the lifespans yield is there before the first task and until after the last one. In the
    handlers the tasks of the application can be enqueued. Metrics that it registers with the
    `CollectorRegistry` of its dependencies go to `registry`.

    Raises:
        ConfigError: A taskiq broker sends its tasks to another place than the server reads.
        LifespanError: A lifespan raised.
        StoppedError: `stop` was set before all of them were open.
        TypeError: A dependency cannot be resolved.
    """
    client = server.client(settings.queues)
    ready_made: dict[Any, Any] = {Client: client}
    if registry is not None:
        ready_made[CollectorRegistry] = registry
    known = provided(app, settings, ready_made)
    server.jobs.declared = settings.queues
    async with AsyncExitStack() as stack:
        ready = await _until(stop, stack, app, known)
        for registration in app.registrations.values():
            handler = registration.in_process or registration.declared.handler(ready)
            server.handle(
                registration.declared.job,
                handler,
                run_in=registration.run_in,
                hard_timeout=registration.hard_timeout,
            )
        if app.taskiq is not None:
            await stack.enter_async_context(app.taskiq.serve(server))
        for job, merge in app.mergers.items():
            server.aggregate(job, merge)
        with (
            app.clients.using(client),
            app.clients.opening_when_asked(settings.redis, settings.queues),
        ):
            yield


async def _until(stop: asyncio.Event, stack: AsyncExitStack, app: App, known: Provided) -> Provided:
    """Open the lifespans on a stack, in this task, unless `stop` is set meanwhile."""
    task = asyncio.current_task()
    stopped = False

    async def watch() -> None:
        nonlocal stopped
        await stop.wait()
        stopped = True
        if task is not None:
            task.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await stack.enter_async_context(opened(app, known))
    except BaseException as error:
        # Whatever a lifespan raises when it is cancelled: it was stopped.
        if not stopped or task is None or task.cancelling() > 1:
            raise
        raise StoppedError(app.name) from error
    finally:
        watching.cancel()
        if stopped and task is not None:
            task.uncancel()
