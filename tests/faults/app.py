"""A worker as a process of its own, which records in its history what it did. Run by the tests.

python app.py '{"name": "w1", "history": "…", "redis": {…}, "lease_seconds": 4, "die": "settle"}'
"""

import asyncio
import json
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from duly.engine.enqueue.outbox import OutboxRelay
from duly.engine.middleware import Middleware, Outcome
from duly.engine.storage.store import Store
from duly.engine.worker.receiver import JobReceiver
from duly.engine.worker.server import Server, ServerOptions
from duly.job import Job, Policy
from duly.runtime import logs, service
from duly.runtime.probes import Probes
from duly.runtime.settings import LogSettings, MetricsSettings, RedisSettings
from duly.testing.history import History, What


class Work(Job, kind="work", policy=Policy(backoff_base=timedelta(milliseconds=20))):
    """Takes a while, has an effect, and may fail."""

    seconds: float = 0.0
    failures: int = 0
    """So many attempts fail before one succeeds."""
    held: bool = False
    """Goes on until there is the file `go` beside the history."""
    blocking: bool = False
    """While held, it blocks the event loop."""
    hungry: bool = False
    """Takes memory until it gets none."""


class Narrow(Work, kind="narrow", policy=Policy(max_running=1)):
    """The same, of which one runs at once."""


WINDOW = timedelta(minutes=10)
HOARDED_BYTES = 64 * 2**20
"""So large that malloc gives each piece back to the kernel once it is free."""


class Storm(Job, kind="storm", policy=Policy(backoff_base=WINDOW, backoff_cap=WINDOW)):
    """Fails until there is the file `go`; its first retry is due at any time of ten minutes."""


FLOWS = {
    "complete_with_successors": ("settle", "settled"),
    "outbox_deliver": ("deliver", "delivered"),
}
"""Script → the points before and after it."""


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
    synced: bool = True
    """Whether its history survives the machine."""
    probes: bool = False
    """Serve /livez, on the port that the file `NAME.port` beside the history names."""
    die: str = ""
    """The point at which it kills itself, once: read, start, effect, end, settle, settled; with
    successors for other queues also deliver, delivered, removed."""


class Worker(Middleware):
    """The handler, and the points at which the process may die."""

    def __init__(self, options):
        self.options = options
        self.history = History(options.history, process=options.name, synced=options.synced)

    def reached(self, point):
        """Kill this process, without warning, if this is where it is to die."""
        if not point or point != self.options.die:
            return
        try:
            (self.options.history / "died").touch(exist_ok=False)
        except FileExistsError:
            return
        self.history.add(What.KILLED, self.options.name, point=point)
        os.kill(os.getpid(), signal.SIGKILL)

    def may_go(self):
        return (self.options.history.parent / "go").exists()

    async def storm(self, _, context):
        self.history.add(What.START, context.id)
        if not self.may_go():
            self.history.add(What.FAILED, context.id)
            raise RuntimeError("not yet")
        self.history.add(What.EFFECT, context.id)
        self.history.add(What.END, context.id)

    async def work(self, job, context):
        self.history.add(What.START, context.id, attempt=context.attempt, crashes=context.crashes)
        self.reached("start")
        hoard = []
        while job.hungry:
            hoard.append(b"x" * HOARDED_BYTES)
        await asyncio.sleep(job.seconds)
        while job.held and not self.may_go():
            if job.blocking:
                time.sleep(0.01)
            else:
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
        launch, complete, settle = JobReceiver._launch_waiting, Store.complete, Store.settle
        run, remove = Store.run, OutboxRelay._remove

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

        async def running(store, call):
            before, after = FLOWS.get(call.script.name, ("", ""))
            self.reached(before)
            answer = await run(store, call)
            self.reached(after)
            return answer

        async def removing(relay, items):
            await remove(relay, items)
            self.reached("removed")

        JobReceiver._launch_waiting = launching
        Store.run, OutboxRelay._remove = running, removing
        Store.complete, Store.settle = around(complete), around(settle)

    async def main(self, stop):
        options = ServerOptions(
            queues=self.options.queues,
            concurrency=self.options.concurrency,
            lease=timedelta(seconds=self.options.lease_seconds),
            drain=timedelta(seconds=self.options.drain_seconds),
        )
        async with (
            Server.open(self.options.redis, options, middlewares=(self,)) as server,
            Probes(
                MetricsSettings(enabled=self.options.probes, host="127.0.0.1", port=0),
                CollectorRegistry(),
                ready=server.ready,
                live=server.liveness,
                stall=options.lease,
            ) as probes,
        ):
            if self.options.probes:
                file = self.options.history.parent / f"{self.options.name}.port"
                file.write_text(str(probes.port))
            server.handle(Work, self.work)
            server.handle(Narrow, self.work)
            server.handle(Storm, self.storm)
            await server.run(stop)
        return 0


if __name__ == "__main__":
    worker = Worker(Options.model_validate(json.loads(sys.argv[1])))
    logs.configure(LogSettings(level="DEBUG"), service="worker")
    if worker.options.die:
        worker.wrap()
    raise SystemExit(service.run(worker.main))
