"""The real services: a broker, schedulers, workers and an order service, each a process."""

import asyncio
import signal
import sys
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import kube_state
import yaml
from alerting import KUBE_STATE

from duly import Client, Inspector
from duly.testing.environment import inherited
from duly.testing.processes import free_port, spawn, stop
from duly.testing.servers import BrokerServer
from duly.testing.waiting import until

HERE = Path(__file__).parent
ORDER_SERVICE = HERE.parents[1] / "examples/order_service/server.py"
VICTIM = ["--app", "victim:app"]
WORKERS = {
    "main": ["steady", "slow", "archived", "quarantined", "dropping", "failing", "unreadable"],
    "held": ["busy=1:1", "full=1:1", "waiting=1:1", "stuck=1:1", "paused=1:1"],
    "blocking": ["blocking"],
    "frozen": ["frozen"],
    "dying": ["dying"],
    "orphaning": ["orphaned"],
    "unserved": ["unserved"],
    "orders": ["default"],
}
"""Worker → the queues that it serves. "unserved" is not started with the others."""
LATER = {"unserved"}
QUEUES = {"critical": None, "low": None} | {
    queue.partition("=")[0]: {"concurrency": 8, "max_length": 1000}
    for queues in WORKERS.values()
    for queue in queues
}
QUEUES["full"]["max_length"] = 10
TOKEN = "secret"
KEPT = 5
"""Archived tasks that a queue keeps."""


def ready(port):
    """Return whether the service there is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@dataclass
class Service:
    """One of the processes."""

    name: str
    command: list[str]
    port: int = field(default_factory=free_port)
    """Of its metrics, or of the orders."""
    process: object = None

    @property
    def runs(self):
        return self.process is not None and self.process.poll() is None


class Fleet:
    """All processes, and what the faults need."""

    def __init__(self, folder, broker, client, inspector):
        self.folder, self.broker = folder, broker
        self.client, self.inspector = client, inspector
        self.entries = folder / "entries.yaml"
        self.orders = Service("order-service", [])
        self.orders.command = [str(ORDER_SERVICE), "shop.db", str(self.orders.port)]
        python = ["-m", "duly_scheduler"]
        self.schedulers = [
            Service("scheduler-victim", [*python, *VICTIM]),
            Service("scheduler-orders", python),
        ]
        self.monitor = Service("monitor", ["-m", "duly_monitor"])
        self.replicas = folder / "replicas"
        self.kube_state = Service(KUBE_STATE, [])
        port = str(self.kube_state.port)
        self.kube_state.command = [str(HERE / "kube_state.py"), port, str(self.replicas)]
        self.workers = {
            name: Service(name, self._worker(name, queues)) for name, queues in WORKERS.items()
        }

    @staticmethod
    def _worker(name, queues):
        flags = [word for queue in queues for word in ("--queue", queue)]
        return ["-m", "duly_worker", *([] if name == "orders" else VICTIM), *flags]

    @property
    def targets(self):
        return {
            KUBE_STATE: [self.kube_state.port],
            "monitor": [self.monitor.port],
            "scheduler": [service.port for service in self.schedulers],
            "worker": [service.port for name, service in self.workers.items() if name not in LATER],
        }

    @property
    def services(self):
        return [
            self.orders,
            self.kube_state,
            self.monitor,
            *self.schedulers,
            *self.workers.values(),
        ]

    def configure(self):
        """Write what all services read."""
        self.entries.write_text("entries: {}\n")
        self.scale(kube_state.LEAST)
        settings = {
            "redis": {"url": self.broker.url},
            "queues": QUEUES,
            "metrics": {"host": "127.0.0.1"},
            "monitor": {"access": "local"},
            "async": {"monitor": {"port": self.monitor.port}},
            "archive": {"max_count": KEPT},
            "scheduler": {
                "interval": "1s",
                "entries_file": str(self.entries),
                "entries_interval": "1s",
            },
            "orders": {
                "source": "http",
                "http": {
                    "url": f"http://127.0.0.1:{self.orders.port}/pending-orders",
                    "token": TOKEN,
                },
            },
        }
        (self.folder / "duly.yaml").write_text(yaml.safe_dump(settings))

    def scale(self, replicas):
        """Let the autoscaler have so many replicas; a reader sees one number or the other."""
        new = self.replicas.with_suffix(".new")
        new.write_text(str(replicas))
        new.rename(self.replicas)

    def start(self, service):
        environment = inherited()
        path = f"{HERE}:{environment.get('PYTHONPATH', '')}"
        service.process = spawn(
            [sys.executable, *service.command],
            log=self.folder / f"{service.name}.log",
            folder=self.folder,
            environment={
                **environment,
                "PYTHONPATH": path,
                "DULY_METRICS__PORT": str(service.port),
                "TOKEN": TOKEN,
            },
        )  # fmt: skip

    async def begin(self):
        """Start all, the schedulers last: whatever is due has somebody who does it."""
        workers = [worker for name, worker in self.workers.items() if name not in LATER]
        for service in (self.orders, self.kube_state, self.monitor, *workers):
            self.start(service)
        for worker in workers:
            await until(lambda worker=worker: ready(worker.port), timeout=180, what=worker.name)
        for service in self.schedulers:
            self.start(service)

    async def stop(self, *services):
        """End them in good order."""
        async with asyncio.TaskGroup() as group:
            for service in services:
                if service.runs:
                    group.create_task(asyncio.to_thread(stop, service.process))

    def send(self, number, *services):
        for service in services:
            service.process.send_signal(number)

    def hold(self, name):
        (self.folder / f"held-{name}").touch()

    def release(self, name):
        (self.folder / f"held-{name}").unlink(missing_ok=True)

    async def active(self, queue, count=1):
        """Wait until so many tasks of the queue run."""

        async def so():
            return (await self.inspector.queues.get(queue)).active >= count

        await until(so, what=f"{count} tasks of {queue} run")

    async def waits(self, queue):
        """Wait until a task of the queue waits."""

        async def so():
            return (await self.inspector.queues.get(queue)).waiting > 0

        await until(so, timeout=120, what=f"a task of {queue} waits")

    async def drained(self, queue):
        async def so():
            found = await self.inspector.queues.get(queue)
            return found.waiting == found.active == 0

        await until(so, timeout=300, what=f"{queue} is drained")


@asynccontextmanager
async def fleet(folder, workers=None):
    """Start the services (workers: those of these names, or all), and end them at the end."""
    broker = BrokerServer.redis(folder / "broker", durable=True)
    with broker:
        async with (
            Client.connect(broker.settings(), create_queues=True) as client,
            Inspector.connect(broker.settings()) as inspector,
        ):
            started = Fleet(folder, broker, client, inspector)
            if workers is not None:
                for name in started.workers.keys() - set(workers):
                    del started.workers[name]
            started.configure()
            try:
                await started.begin()
                yield started
            finally:
                for service in started.services:
                    if service.process is not None:
                        service.process.send_signal(signal.SIGCONT)
                        service.process.kill()
                        service.process.wait()
