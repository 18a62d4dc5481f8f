"""One process of the soak, a worker or a scheduler: python app.py '{"role": "worker", …}'."""

import asyncio
import json
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))
from jobs import Limited, Member, Merged, Tick, Unique, Work

from duly import Entry, Middleware, Outcome, Overlap, RedisSettings, Server, ServerOptions
from duly.engine.enqueue.ticks import Ticks
from duly.engine.maintenance.maintainer import Maintainer
from duly.errors import DulyError
from duly.runtime import logs, service
from duly.runtime.settings import LogSettings
from duly.testing.history import History, What

ENTRY = Entry(id="soak", job=Tick(), interval=timedelta(seconds=1), overlap=Overlap.ALLOW)


class Options(BaseModel):
    """What a process is told."""

    role: Literal["worker", "scheduler"]
    name: str
    history: Path
    redis: RedisSettings
    lease_seconds: float
    queues: dict[str, int] = {}
    concurrency: int = 6


class Recorder(Middleware):
    """The handlers, each of which writes down what it does."""

    def __init__(self, options):
        self.options = options
        self.history = History(options.history, process=options.name)

    async def run(self, job, context):
        self.history.add(
            What.START, context.id, kind=job.kind, attempt=context.attempt,
            crashes=context.crashes, unique=getattr(job, "name", ""),
        )  # fmt: skip
        try:
            await asyncio.sleep(getattr(job, "seconds", 0.0))
        except asyncio.CancelledError:
            self.history.add(What.FAILED, context.id, kind=job.kind, cancelled=True)
            raise
        if context.attempt <= getattr(job, "failures", 0):
            self.history.add(What.FAILED, context.id, kind=job.kind)
            raise RuntimeError("fails on purpose")
        self.history.add(What.EFFECT, context.id, names=list(getattr(job, "names", ())))
        self.history.add(What.END, context.id, kind=job.kind)

    async def merge(self, jobs, _):
        return Merged(names=tuple(job.name for job in jobs))

    def ended(self, end):
        if end.outcome is Outcome.LOST:
            self.history.add(What.REFUSED, end.context.id)


async def work(options, stop):
    recorder = Recorder(options)
    wanted = ServerOptions(
        queues=options.queues,
        concurrency=options.concurrency,
        lease=timedelta(seconds=options.lease_seconds),
        drain=timedelta(seconds=5),
    )
    async with Server.open(options.redis, wanted, middlewares=(recorder,)) as server:
        for job in (Work, Unique, Limited, Merged, Tick):
            server.handle(job, recorder.run)
        server.aggregate(Member, recorder.merge)
        await server.run(stop)
    return 0


async def schedule(options, stop):
    history = History(options.history, process=options.name)
    lease = timedelta(seconds=options.lease_seconds)
    async with (
        Ticks.connect(options.redis) as ticks,
        Maintainer.open(options.redis, lease=lease) as maintainer,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(service.ending(stop, maintainer.run(stop)))
        while not stop.is_set():
            wait = timedelta(milliseconds=200)
            with suppress(DulyError):
                result = await ticks.tick(ENTRY)
                wait = result.wait
                for report in result.reports:
                    if report.outcome == "enqueued":
                        history.add(What.TICK, report.task_id)
            await service.rest(stop, wait)
    return 0


if __name__ == "__main__":
    given = Options.model_validate(json.loads(sys.argv[1]))
    logs.configure(LogSettings(level="INFO"), service=given.role)
    run = work if given.role == "worker" else schedule
    raise SystemExit(service.run(lambda stop: run(given, stop)))
