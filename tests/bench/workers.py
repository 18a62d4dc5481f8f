"""The two workers that are measured, each a process of its own."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from duly.engine.middleware.log import LogTasks
from duly.engine.middleware.metrics import CountTasks
from duly.engine.middleware.tracing import tracing
from duly.engine.worker.server import Server, ServerOptions
from duly.job import Job
from duly.runtime import service
from duly.runtime.exporting import exporting
from duly.runtime.metrics import new_registry
from duly.runtime.settings import ArchiveSettings, RedisSettings
from duly.runtime.tracing_settings import TracingSettings
from duly.task import TaskContext

CONCURRENCY = 100


class Noop(Job, kind="noop"):
    """Does nothing, but tells how long it was on its way when it carries a stamp."""

    stamp: float = 0.0


class Stamps:
    """Collects delays in memory and writes them at the end: writing is not measured."""

    def __init__(self, path: str) -> None:
        self._path, self._delays = path, list[float]()

    def note(self, stamp: float) -> None:
        if stamp:
            self._delays.append(time.time() - stamp)

    def write(self) -> None:
        if self._path:
            Path(self._path).write_text(json.dumps(self._delays))


def duly_worker(port: int, stamps_path: str = "") -> None:
    """Run a duly worker until SIGTERM."""
    stamps = Stamps(stamps_path)

    async def noop(job: Noop, _: TaskContext) -> None:
        stamps.note(job.stamp)

    async def work(stop: asyncio.Event) -> int:
        # The bound of the archive is out of the way: what is measured has it full.
        archive = ArchiveSettings(max_count=10_000_000)
        options = ServerOptions(queues={"default": 1}, concurrency=CONCURRENCY, archive=archive)
        registry, settings = new_registry("worker"), RedisSettings(port=port)
        traced = TracingSettings(
            endpoint=os.environ.get("BENCH_ENDPOINT", ""),
            sample_ratio=float(os.environ.get("BENCH_RATIO", "0")),
        )
        async with exporting(traced, registry, service="worker"):
            middlewares = (*tracing(), LogTasks(), CountTasks(registry))
            async with Server.open(settings, options, middlewares=middlewares) as server:
                server.handle(Noop, noop)
                await server.run(stop)
        stamps.write()
        return 0

    raise SystemExit(service.run(work))


def stock_broker() -> Any:
    """Return stock taskiq-redis with a no-op task, as `taskiq worker` wants it."""
    from taskiq import TaskiqEvents
    from taskiq.serializers import JSONSerializer
    from taskiq_redis import RedisStreamBroker

    port = os.environ["BENCH_PORT"]
    stamps = Stamps(os.environ.get("BENCH_STAMPS", ""))
    broker = RedisStreamBroker(f"redis://127.0.0.1:{port}", consumer_id="0", queue_name="stock")
    broker.with_serializer(JSONSerializer())

    @broker.task(task_name="noop")
    async def noop(stamp: float = 0.0) -> None:
        stamps.note(stamp)

    @broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
    async def write(_: Any) -> None:
        stamps.write()

    return broker


def __getattr__(name: str) -> Any:
    """Make the stock broker only where `taskiq worker` asks for it."""
    if name == "broker_factory":
        return stock_broker()
    raise AttributeError(name)
