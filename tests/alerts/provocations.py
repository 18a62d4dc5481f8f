"""How each alert is provoked, and how its cause ends.

A provocation is a context: what its beginning breaks, its end mends. Its docstring stands in the
table of docs/telemetry.md.
"""

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

import kube_state
import victim

from duly import Aggregate, Job, Policy
from duly.engine.storage.keys import queue_keys

TIMETABLE_SECONDS = 5
LATE_SECONDS = 3.2
PENDING = 8
BALLAST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Provocation:
    """A fault, and the alerts that have to fire while it lasts."""

    alerts: tuple[str, ...]
    labels: dict[str, str]
    how: str
    alone: bool
    """It disturbs everybody, so nothing else is provoked meanwhile."""
    fault: object

    def wanted(self):
        """Return alert → the labels of what has to fire."""
        return {name: {"alertname": name, **self.labels} for name in self.alerts}


PROVOCATIONS = []
NOT_PROVOKED: dict[str, str] = {}
"""Alert → why it is not provoked."""


def provokes(*alerts, alone=False, **labels):
    """Declare an asynchronous generator of one step as the provocation of these alerts."""

    def declare(function):
        how = " ".join(function.__doc__.split())
        fault = asynccontextmanager(function)
        PROVOCATIONS.append(Provocation(alerts, labels, how, alone, fault))
        return fault

    return declare


async def measure(provocation, fleet, heard):
    """Break, wait for the alerts, mend, wait for their end: alert → (fired, resolved), in s."""
    wanted = provocation.wanted()
    began = monotonic()
    async with provocation.fault(fleet):
        fired = {name: await heard.fired(labels, since=began) for name, labels in wanted.items()}
        mended = monotonic()
    over = {name: await heard.resolved(labels) for name, labels in wanted.items()}
    return {
        name: (round(fired[name] - began, 1), round(max(0.0, over[name] - mended), 1))
        for name in provocation.alerts
    }


class Unknown(Job, kind="nobody_knows_it"):
    pass


class Lonely(Job, kind="lonely", policy=Policy(aggregate=Aggregate(grace=timedelta(0)))):
    """Nobody merges its groups."""


@provokes(
    "DulyTicksSkippedInARow", "DulyTicksSkipped", "DulyTicksUnmetFast", "DulyTicksUnmetSlow",
    entry="slow",
)  # fmt: skip
async def slow_task(fleet):
    """The task of an entry that is due every second hangs; then it ends."""
    fleet.hold("slow")
    yield
    fleet.release("slow")


@provokes("DulyTasksArchived", queue="archived")
async def archived(fleet):
    """A task uses up its attempts."""
    await fleet.client.enqueue(victim.fail.job(), queue="archived")
    yield


@provokes("DulyTasksQuarantined", queue="quarantined")
async def quarantined(fleet):
    """A producer enqueues a kind that no worker knows."""
    await fleet.client.enqueue(Unknown(), queue="quarantined")
    yield


@provokes("DulyArchiveDropping", queue="dropping")
async def dropping(fleet):
    """Fifteen tasks fail for good in a queue whose archive keeps five."""
    for _ in range(15):
        await fleet.client.enqueue(victim.fail.job(), queue="dropping")
    yield


@provokes("DulyTasksFailing", queue="failing")
async def failing(fleet):
    """Every attempt of a queue fails and is retried; then they succeed."""
    fleet.hold("failing")
    await fleet.client.enqueue(victim.retry_while_held.job(name="failing"))
    yield
    fleet.release("failing")


@provokes("DulyTasksWaitLong", queue="waiting")
async def waiting(fleet):
    """A minute's work for one slot is enqueued at once; then all of it is done."""
    for _ in range(120):
        await fleet.client.enqueue(victim.nap.job(seconds=0.5))
    yield
    await fleet.drained("waiting")


@provokes("DulyBacklogOld", queue="busy")
async def backlog(fleet):
    """A task waits for longer than five minutes, since the only slot is taken; then it is free."""
    fleet.hold("busy")
    await fleet.client.enqueue(victim.hold.job(name="busy"))
    await fleet.client.enqueue(victim.hold.job(name="busy"))
    yield
    fleet.release("busy")


@provokes("DulyQueuePaused", queue="paused")
async def paused(fleet):
    """A queue is paused by hand, then resumed."""
    await fleet.inspector.queues.pause("paused")
    yield
    await fleet.inspector.queues.resume("paused")


@provokes("DulyDueTasksLate", queue="grouped", state="aggregating")
async def unmerged(fleet):
    """A group is due that no worker can merge; then its tasks are deleted."""
    await fleet.client.enqueue(Lonely(), queue="grouped", group="nobody")
    yield
    group = await fleet.inspector.groups.get("grouped", "lonely", "nobody")
    await fleet.inspector.bulk.execute(await fleet.inspector.bulk.plan_group("delete", group))


@provokes("DulyQueueFull", queue="full")
async def full(fleet):
    """Nine tasks are in a queue that may hold ten; then they are done."""
    fleet.hold("full")
    for _ in range(9):
        await fleet.client.enqueue(victim.hold.job(name="full"), queue="full")
    yield
    fleet.release("full")


@provokes("DulyQueueUnserved", queue="unserved")
async def unserved(fleet):
    """A task waits in a queue without a worker; then one starts."""
    await fleet.client.enqueue(victim.nap.job(seconds=0), queue="unserved")
    yield
    fleet.start(fleet.workers["unserved"])


@provokes("DulyQueueUnreadable", queue="unreadable")
async def unreadable(fleet):
    """Other software writes a key of a queue; then the key is deleted."""
    await fleet.client.enqueue(victim.nap.job(seconds=0), queue="unreadable")
    key = queue_keys("unreadable").archived
    with fleet.broker.client() as redis:
        redis.set(key, "not ours")
        yield
        redis.delete(key)


@provokes("DulyWorkersDying", queue="dying")
async def dying(fleet):
    """A worker is killed while it runs eight tasks; then another one does them."""
    fleet.hold("dying")
    for _ in range(PENDING):
        await fleet.client.enqueue(victim.hold.job(name="dying"), queue="dying")
    await fleet.active("dying", PENDING)
    fleet.send(signal.SIGKILL, fleet.workers["dying"])
    yield
    fleet.release("dying")
    fleet.start(fleet.workers["dying"])


@provokes("DulyLeasesLost", queue="frozen")
async def frozen(fleet):
    """A worker with a task is suspended for longer than its lease, and then continues."""
    fleet.hold("frozen")
    await fleet.client.enqueue(victim.hold.job(name="frozen"), queue="frozen")
    await fleet.active("frozen")
    fleet.send(signal.SIGSTOP, fleet.workers["frozen"])
    await fleet.waits("frozen")  # its lease has run out, and a scheduler has taken the task
    fleet.send(signal.SIGCONT, fleet.workers["frozen"])
    yield
    fleet.release("frozen")


@provokes("DulyTasksStuck", queue="stuck")
async def stuck(fleet):
    """A handler goes on after its timeout; then it ends."""
    fleet.hold("stuck")
    await fleet.client.enqueue(victim.ignore_cancellation.job(name="stuck"))
    yield
    fleet.release("stuck")


@provokes("DulyTasksOrphaned", queue="orphaned")
async def orphaned(fleet):
    """A worker is killed with a task that cannot be recovered, as other software wrote a key."""
    fleet.hold("orphaned")
    await fleet.client.enqueue(victim.hold.job(name="orphaned"), queue="orphaned")
    await fleet.active("orphaned")
    key, aside = queue_keys("orphaned").index, "aside"
    fleet.send(signal.SIGKILL, fleet.workers["orphaning"])
    with fleet.broker.client() as redis:
        redis.rename(key, aside)
        redis.set(key, "not ours")
        yield
        redis.rename(aside, key)
    fleet.release("orphaned")
    fleet.start(fleet.workers["orphaning"])


@provokes("DulyEventLoopBlocked", job="worker")
async def blocked(fleet):
    """A coroutine computes for two seconds at a time; then it ends."""
    fleet.hold("blocking")
    await fleet.client.enqueue(victim.block_while_held.job(name="blocking"))
    yield
    fleet.release("blocking")


@provokes("DulyBrokerMemory")
async def memory(fleet):
    """The broker's maxmemory is lowered to just above what it uses; then it is unlimited again."""
    with fleet.broker.client() as redis:
        redis.setrange("ballast", BALLAST_BYTES, "x")  # what the others write weighs little then
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] / 0.88))
        yield
        redis.config_set("maxmemory", 0)
        redis.delete("ballast")


@provokes("DulyEntriesUnreadable")
async def entries(fleet):
    """The file of entries is no YAML any more; then it is corrected."""
    good = fleet.entries.read_text()
    fleet.entries.write_text("entries: [")
    yield
    fleet.entries.write_text(good)


@provokes("DulyOrdersUnreadable")
async def orders(fleet):
    """The order service is stopped; then it starts again."""
    await fleet.stop(fleet.orders)
    yield
    fleet.start(fleet.orders)


@provokes("DulyScaledToMaximum", horizontalpodautoscaler=kube_state.AUTOSCALER)
async def scaled(fleet):
    """A stand-in for kube-state-metrics says that an autoscaler is at its maximum; then below."""
    fleet.scale(kube_state.MOST)
    yield
    fleet.scale(kube_state.MOST - 1)


@provokes("DulyTicksLate", alone=True)
async def late(fleet):
    """Schedulers get no CPU time in the first three seconds of every slot; then they do."""

    async def starve():
        while True:
            phase = (time.time() + 0.5) % TIMETABLE_SECONDS
            await asyncio.sleep(TIMETABLE_SECONDS - phase)
            fleet.send(signal.SIGSTOP, *fleet.schedulers)
            await asyncio.sleep(0.5 + LATE_SECONDS)
            fleet.send(signal.SIGCONT, *fleet.schedulers)

    starving = asyncio.create_task(starve())
    yield
    starving.cancel()
    fleet.send(signal.SIGCONT, *fleet.schedulers)


@provokes("DulySchedulerAbsent", alone=True)
async def no_scheduler(fleet):
    """All schedulers are stopped; then they start again."""
    await fleet.stop(*fleet.schedulers)
    yield
    for service in fleet.schedulers:
        fleet.start(service)


@provokes("DulyWorkersAbsent", alone=True)
async def no_worker(fleet):
    """All workers are stopped; then they start again."""
    workers = [service for service in fleet.workers.values() if service.runs]
    await fleet.stop(*workers)
    yield
    for service in workers:
        fleet.start(service)


@provokes("DulyBrokerErrors", "DulyTicksMissing", "DulyQueuesNotExported", alone=True)
async def no_broker(fleet):
    """The broker is stopped; then it starts again with its data."""
    await asyncio.to_thread(fleet.broker.stop)
    yield
    await asyncio.to_thread(fleet.broker.start)
