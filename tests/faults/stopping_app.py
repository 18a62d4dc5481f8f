"""A small worker for `test_stop.py`: `python stopping_app.py PORT`, handlers of every manner."""

import asyncio
import os
import sys
from datetime import timedelta

import structlog
from stopping_jobs import Busy, crunch, nap, wait

from duly.engine.middleware.log import LogTasks
from duly.engine.worker.server import Server, ServerOptions
from duly.runtime import logs, service
from duly.runtime.settings import LogSettings, RedisSettings


async def work(stop: asyncio.Event) -> int:
    options = ServerOptions(
        queues={"default": 1},
        concurrency=2,
        drain=timedelta(seconds=float(os.environ.get("DRAIN", "1"))),
        lease=timedelta(seconds=float(os.environ.get("LEASE", "30"))),
    )
    settings = RedisSettings(port=int(sys.argv[1]), timeout=timedelta(seconds=1))
    async with Server.open(settings, options, middlewares=(LogTasks(debug=True),)) as server:
        match os.environ.get("MANNER", "coroutine"):
            case "coroutine":
                server.handle(Busy, nap)
            case "thread":
                server.handle(Busy, wait)
            case "process":
                server.handle(Busy, crunch, run_in="process")
        structlog.get_logger("app").info("Worker started", server=server.id)
        await server.run(stop)
    structlog.get_logger("app").info("Worker stopped")
    return 0


if __name__ == "__main__":
    logs.configure(LogSettings(level="DEBUG", format="json"), service="stopping")
    sys.exit(service.run(work))
