"""A worker as a process of its own, that tells in its history what it did. Run by the tests.

python app.py '{"name": "w1", "history": "…", "redis": {…}, "lease_seconds": 4, "die": "settle"}'
"""

import asyncio
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel

from duly.engine.middleware import Middleware, Outcome
from duly.engine.receiver import JobReceiver
from duly.engine.server import Server, ServerOptions
from duly.engine.store import Store
from duly.job import Job, Policy
from duly.runtime import logs, service
from duly.runtime.settings import LogSettings, RedisSettings
from duly.testing.history import History, What


class Work(Job, kind="work", policy=Policy(backoff_base=timedelta(milliseconds=20))):
    """Takes a while, has an effect, and may fail."""

    seconds: float = 0.0
    failures: int = 0
    """So many attempts fail before one succeeds."""
    held: bool = False
    """Goes on until there is the file `go` beside the history."""


class Options(BaseModel):
    """What a test wants of a worker."""

    name: str
    history: Path
    redis: RedisSettings
    lease_seconds: float = 30.0
    """More than any machine stalls: a lease that is to run out is given by its test."""
    concurrency: int = 4
    queues: dict[str, int] = {"default": 1}
    drain_seconds: float = 10.0
    die: str = ""
    """The point at which it kills itself, once: read, start, effect, end, settle, settled."""


class Worker(Middleware):
    """The handler, and the points at which the process may die."""

    def __init__(self, options):
        self.options = options
        self.history = History(options.history, process=options.name)

    def reached(self, point):
        """Kill this process, without warning, if this is where it is to die."""
        if point != self.options.die:
            return
        try:
            (self.options.history / "died").touch(exist_ok=False)
        except FileExistsError:
            return
        self.history.add(What.KILLED, self.options.name, point=point)
        os.kill(os.getpid(), signal.SIGKILL)

    async def work(self, job, context):
        self.history.add(What.START, context.id, attempt=context.attempt, crashes=context.crashes)
        self.reached("start")
        await asyncio.sleep(job.seconds)
        while job.held and not (self.options.history.parent / "go").exists():
            await asyncio.sleep(0.01)
        if context.attempt <= job.failures:
            self.history.add(What.FAILED, context.id)
            raise RuntimeError("not yet")
        self.history.add(What.EFFECT, context.id, key=context.idempotency_key("effect"))
        self.reached("effect")
        self.history.add(What.END, context.id)
        self.reached("end")

    def ended(self, end):
        if end.outcome is Outcome.LOST:
            self.history.add(What.REFUSED, end.context.id)

    def wrap(self):
        """Put the points outside the handler into the engine's own methods."""
        launch, finish, settle = JobReceiver._launch_waiting, Store.finish, Store.settle

        def launching(receiver):
            if receiver._waiting:
                self.reached("read")
            launch(receiver)

        def around(write):
            async def writing(store, *args, **kwargs):
                self.reached("settle")
                answer = await write(store, *args, **kwargs)
                self.reached("settled")
                return answer

            return writing

        JobReceiver._launch_waiting = launching
        Store.finish, Store.settle = around(finish), around(settle)

    async def main(self, stop):
        options = ServerOptions(
            queues=self.options.queues,
            concurrency=self.options.concurrency,
            lease=timedelta(seconds=self.options.lease_seconds),
            drain=timedelta(seconds=self.options.drain_seconds),
        )
        async with Server.open(self.options.redis, options, middlewares=(self,)) as server:
            server.handle(Work, self.work)
            await server.run(stop)
        return 0


if __name__ == "__main__":
    worker = Worker(Options.model_validate(json.loads(sys.argv[1])))
    logs.configure(LogSettings(level="DEBUG"), service="worker")
    if worker.options.die:
        worker.wrap()
    raise SystemExit(service.run(worker.main))
