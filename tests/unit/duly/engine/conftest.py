"""A server in the test's own loop, with whatever handlers a test wants."""

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from duly.engine.worker.server import Server, ServerOptions


@pytest.fixture
def serving(broker_settings):
    """Return a context manager: `async with serving({Job: handler}) as server`."""

    @asynccontextmanager
    async def serve(handlers, *, middlewares=(), handle=None, merge=None, **options):
        given = {"queues": {"default": 1}, "concurrency": 4, "lease": timedelta(seconds=10)}
        stop = asyncio.Event()
        async with Server.open(
            broker_settings, ServerOptions(**given | options), middlewares=middlewares
        ) as server:
            for job, handler in handlers.items():
                server.handle(job, handler, **(handle or {}))
            for job, function in (merge or {}).items():
                server.aggregate(job, function)
            server.stop = stop.set
            running = asyncio.create_task(server.run(stop))
            try:
                yield server
            finally:
                stop.set()
                await asyncio.wait_for(running, 90)

    return serve


@pytest.fixture
def documented(pytestconfig):
    """Return the blocks of Python below a heading of a document."""

    def blocks(path, heading):
        text = (pytestconfig.rootpath / path).read_text(encoding="utf-8")
        section = re.split(rf"^## [^\n]*{heading}$", text, flags=re.MULTILINE)[1]
        return re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)

    return blocks
