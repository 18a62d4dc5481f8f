import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from duly.engine.worker.server import Server, ServerOptions


@pytest.fixture
def working():
    """`working(settings, handlers, concurrency)` runs a worker of `default` for the body."""

    @asynccontextmanager
    async def run(settings, handlers, concurrency):
        stop = asyncio.Event()
        drain = timedelta(seconds=2)
        options = ServerOptions(queues={"default": 1}, concurrency=concurrency, drain=drain)
        async with Server.open(settings, options) as server, asyncio.TaskGroup() as group:
            for job, handler in handlers.items():
                server.handle(job, handler)
            group.create_task(server.run(stop))
            try:
                yield server
            finally:
                stop.set()

    return run
