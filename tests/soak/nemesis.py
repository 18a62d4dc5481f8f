"""The nemesis: a seeded plan of faults, and the hands that carry it out on real processes."""

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from brokers import Broker

from duly import RedisSettings
from duly.testing.environment import inherited
from duly.testing.history import History, What
from duly.testing.outage import Outage
from duly.testing.processes import spawn, stop

APP = Path(__file__).with_name("app.py")
LEASE = 2.0
TIMEOUT = timedelta(seconds=1)
"""Of one answer of the broker."""
AT_CHILDREN = {
    "kill a worker": 4,
    "freeze a worker": 3,
    "replace a worker": 3,
    "kill the scheduler": 1,
}
"""Fault → how often, in proportion, beside those of the broker."""
AT_PROXIES = {
    "cut a worker off": 3,
    "lose a worker's replies": 2,
    "reset a worker's connections": 2,
}
"""The same, where a proxy stands between a process and the broker."""


@dataclass(frozen=True)
class Fault:
    """One fault of the plan."""

    after: float
    """Seconds since the one before."""
    name: str
    which: int
    """Which of the workers, modulo their number."""
    lasts: float
    """Seconds, where it lasts; up to two and a half leases."""


def plan(seed: int, faults: Mapping[str, int]) -> Iterator[Fault]:
    """Yield faults without end: the same for the same seed."""
    chance = random.Random(seed)
    names, weights = list(faults), list(faults.values())
    while True:
        yield Fault(
            after=chance.uniform(0.5, 5.0),
            name=chance.choices(names, weights)[0],
            which=chance.randrange(1_000),
            lasts=LEASE * chance.uniform(0.1, 2.5),
        )


@dataclass(eq=False)
class Child:
    """A process of the soak, behind a proxy of its own where the broker is one server."""

    name: str
    role: str
    queues: dict[str, int]
    redis: RedisSettings
    outage: Outage | None
    process: object = None
    lives: int = 0


@dataclass(eq=False)
class Stage:
    """The broker, the processes, and what the nemesis has done to them."""

    folder: Path
    broker: Broker
    history: History
    children: list[Child] = field(default_factory=list)
    done: list[tuple[str, float]] = field(default_factory=list)
    """Faults that were carried out, with how long each lasted."""

    @property
    def workers(self) -> list[Child]:
        return [child for child in self.children if child.role == "worker"]

    @property
    def schedulers(self) -> list[Child]:
        return [child for child in self.children if child.role == "scheduler"]

    @property
    def spared(self) -> Child:
        """The worker that lives as long as the soak, so that its growth can be seen."""
        return self.workers[-1]

    @property
    def faults(self) -> Mapping[str, int]:
        """What can be done here: fault → how often, in proportion."""
        proxied = self.children[0].outage is not None
        return {**AT_CHILDREN, **(AT_PROXIES if proxied else {}), **self.broker.faults}

    def start(self, child: Child) -> None:
        """Start a process, or the next one in its place."""
        child.lives += 1
        name = f"{child.name}-{child.lives}"
        options = {
            "role": child.role,
            "name": name,
            "history": str(self.folder / "history"),
            "redis": child.redis.model_dump(mode="json"),
            "lease_seconds": LEASE,
            "queues": child.queues,
        }
        child.process = spawn(
            [sys.executable, APP, json.dumps(options)],
            log=self.folder / f"{child.name}.log",
            folder=self.folder,
            environment=inherited(),
        )

    def killed(self, child: Child) -> None:
        """Note that a process was killed, or may have lost its lease."""
        self.history.add(What.KILLED, f"{child.name}-{child.lives}")


@asynccontextmanager
async def staged(folder: Path, broker: Broker, settings: RedisSettings) -> AsyncIterator[Stage]:
    """Start four workers over three queues and two schedulers, each behind its own proxy.

    A proxy stands before one address, so there is none before sentinels or a Cluster.
    """
    proxied = settings.sentinel.master is None and not settings.cluster
    async with AsyncExitStack() as stack:
        history = stack.enter_context(History(folder / "history", process="client"))
        stage = Stage(folder, broker, history)
        shares = (
            {"critical": 3, "default": 2, "low": 1},
            {"critical": 1, "default": 1},
            {"default": 1},
            {"low": 1, "default": 2},
        )
        cast = [(f"w{number}", "worker", queues) for number, queues in enumerate(shares, 1)]
        cast += [(f"s{number}", "scheduler", {}) for number in (1, 2)]
        for name, role, queues in cast:
            outage, redis = None, settings
            if proxied:
                outage = await stack.enter_async_context(Outage.before(settings))
                redis = outage.settings
            stage.children.append(Child(name, role, queues, redis, outage))
        for child in stage.children:
            stage.start(child)
            stack.callback(lambda child=child: stop(child.process, grace_seconds=15))
        yield stage


async def carry_out(stage: Stage, fault: Fault) -> None:
    """Do one fault, and undo it after its time."""
    if fault.name in stage.broker.faults:
        await stage.broker.carry_out(fault.name, fault.which, fault.lasts)
    else:
        act, victims = {
            "kill a worker": (_kill, stage.workers[:-1]),
            "replace a worker": (_replace, stage.workers[:-1]),
            "kill the scheduler": (_kill, stage.schedulers),
            "freeze a worker": (_freeze, stage.workers),
            "cut a worker off": (_cut_off, stage.workers),
            "lose a worker's replies": (_lose_replies, stage.workers),
            "reset a worker's connections": (_reset, stage.workers),
        }[fault.name]
        await act(stage, victims[fault.which % len(victims)], fault.lasts)
    stage.done.append((fault.name, fault.lasts))


async def _kill(stage: Stage, child: Child, _: float) -> None:
    child.process.kill()
    await asyncio.to_thread(child.process.wait)
    stage.killed(child)
    stage.start(child)


async def _freeze(stage: Stage, child: Child, lasts: float) -> None:
    stage.killed(child)
    child.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(lasts)
    child.process.send_signal(signal.SIGCONT)


async def _replace(stage: Stage, child: Child, _: float) -> None:
    child.process.terminate()
    await asyncio.to_thread(child.process.wait)
    stage.start(child)


async def _cut_off(stage: Stage, child: Child, lasts: float) -> None:
    stage.killed(child)
    child.outage.black_hole()
    await asyncio.sleep(lasts)
    child.outage.heal()
    child.outage.cut()


async def _lose_replies(stage: Stage, child: Child, lasts: float) -> None:
    stage.killed(child)
    child.outage.black_hole(requests=False)
    await asyncio.sleep(lasts)
    child.outage.cut()
    child.outage.heal()


async def _reset(_: Stage, child: Child, __: float) -> None:
    child.outage.cut()
