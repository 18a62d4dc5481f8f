"""Runs the shop's tasks by a server of duly's."""

import asyncio

from shop.broker import broker

from duly import Server, ServerOptions
from duly.runtime import logs, service
from duly.runtime.settings import LogSettings
from shop import mail, orders  # noqa: F401 - have the tasks


async def work(stop: asyncio.Event) -> int:
    options = ServerOptions(queues=broker.queues, concurrency=10)
    async with Server.open(broker.settings, options) as server, broker.serve(server):
        await server.run(stop)
    return 0


logs.configure(LogSettings(), service="shop")
raise SystemExit(service.run(work))
