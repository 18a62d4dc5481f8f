"""Servers of an engine test: each whole, with its heartbeat, in the test's own loop."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from duly.engine.worker.server import Server, ServerOptions

LEASE = timedelta(seconds=10)
"""More than any machine stalls."""


@pytest.fixture
async def serve(broker_settings):
    """`await serve({Job: handler}, …)` starts a server; each is stopped at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(
            handlers, *, queues=None, concurrency=10, handle=None, merge=None, **options
        ):
            server = await stack.enter_async_context(
                Server.open(
                    broker_settings,
                    ServerOptions(
                        queues=queues or {"default": 1},
                        concurrency=concurrency,
                        **{"lease": LEASE, "drain": timedelta(seconds=5), **options},
                    ),
                )
            )
            for job, handler in handlers.items():
                server.handle(job, handler, **(handle or {}))
            for job, function in (merge or {}).items():
                server.aggregate(job, function)
            server.end = asyncio.Event()
            server.running = asyncio.create_task(server.run(server.end))

            async def end():
                server.end.set()
                await server.running

            stack.push_async_callback(end)
            async with asyncio.timeout(60):
                while server.ready():
                    await asyncio.sleep(0.01)
            return server

        yield begin
