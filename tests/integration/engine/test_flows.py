"""Flows while their workers are killed: nothing that follows is lost, nothing begins twice."""

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.keys import queue_keys
from duly.flow import chain, step
from duly.job import Job, Policy
from duly.testing.environment import inherited
from duly.testing.history import What, read
from duly.testing.processes import spawn, stop

WORKER = Path(__file__).with_name("flow_worker.py")
FLOWS, WIDTH, KILLS = 30, 6, 8


class Fan(Job, kind="fan"):
    width: int


class Part(Job, kind="part"):
    number: int


class Far(Job, kind="far", policy=Policy(queue="far")):
    number: int = 0


def expected(flow):
    """Ids of all tasks of chain(Fan, Part, Far)."""
    fan = f"{flow}.1"
    members = [f"{fan}.1.1.{n}" for n in range(1, WIDTH + 1)]
    return {fan, *members, f"{fan}.1.2", f"{fan}.2", f"{flow}.2", f"{flow}.3"}


class Crew:
    """Two workers, any of which may be killed and replaced."""

    def __init__(self, folder, port):
        self.folder, self.port, self.workers = folder, port, []

    def start(self):
        self.workers.append(
            spawn(
                [sys.executable, WORKER, self.folder / "history", str(self.port)],
                log=self.folder / "worker.log",
                folder=self.folder,
                environment=inherited(),
            )
        )

    def replace_one(self):
        victim = self.workers.pop(random.randrange(len(self.workers)))
        victim.kill()
        victim.wait()
        self.start()

    def events(self, what):
        return [event for event in read(self.folder / "history") if event.what is what]

    def ended(self):
        return {event.task for event in self.events(What.END)}


@pytest.fixture
def crew(valkey_server, broker_settings, tmp_path):
    crew = Crew(tmp_path, valkey_server.port)
    for _ in range(2):
        crew.start()
    yield crew
    for worker in crew.workers:
        stop(worker)


async def test_killed_workers_lose_and_double_nothing_that_follows(crew, broker_settings, until):
    async with Client.connect(broker_settings) as client:
        for n in range(FLOWS):
            flow = chain(Fan(width=WIDTH), Part(number=n), step(Far(), headers={"n": str(n)}))
            await client.start(flow, flow_id=f"f{n}")
    wanted = set().union(*(expected(f"f{n}") for n in range(FLOWS)))

    for kill in range(1, KILLS + 1):
        # Somewhere amid the work: after as many ends as this.
        goal = len(wanted) * kill // (KILLS + 3)
        await until(lambda goal=goal: len(crew.ended()) >= goal)
        crew.replace_one()
    await until(lambda: crew.ended() >= wanted, timeout=120)

    async with Inspector.connect(broker_settings) as inspector:
        await until(lambda: settled(inspector))
        assert await inspector.joins.list("far") == []
    assert {event.task for event in crew.events(What.START)} == wanted, "no strangers"
    # A run after a crash says so: whoever begins twice without one was enqueued twice.
    fresh = Counter(event.task for event in crew.events(What.START) if not event.facts["crashes"])
    assert {task: count for task, count in fresh.items() if count > 1} == {}


async def settled(inspector):
    """Tell whether nothing is left: no task, nothing on its way to another queue."""
    reports = [await inspector.queues.get(name) for name in ("default", "far")]
    letters = [
        await inspector._store.connection.command("XLEN", queue_keys(name).outbox)
        for name in ("default", "far")
    ]
    left = sum(item.waiting + item.active + item.retry + item.quarantined for item in reports)
    return left + sum(letters) == 0
