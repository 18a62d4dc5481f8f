"""Somebody else's value under each key of a queue: it is told by name, and holds up nobody else."""

import re
import sys
import time
import urllib.request
from itertools import cycle

import pytest

from duly.engine.storage.keys import KEY_NAMES, KEY_TYPES, queue_keys
from duly.testing.environment import inherited
from duly.testing.history import What
from duly.testing.processes import spawn, stop
from duly.testing.waiting import until

pytestmark = [pytest.mark.fault("foreign data"), pytest.mark.timeout(300)]
SECONDS = 90.0
HOUR_MS = 3_600_000
ENTRY = "check-pending-orders"
"""An entry of the scheduler's timetable, in the queue `default`."""
OF_EACH = {
    "hour": lambda keys, now: [keys.hour(now), keys.hour(now + HOUR_MS)],
    "day": lambda keys, now: [keys.day(now), keys.day(now + HOUR_MS)],
    "permits": lambda keys, _: [keys.permits("narrow")],
    "parked": lambda keys, _: [keys.parked("narrow")],
    "tick_history": lambda keys, _: [keys.tick_history(ENTRY)],
}
"""Keys of which a queue has several → those of today."""
NAMES = [*KEY_NAMES, *OF_EACH]
OVERWRITTEN = {"pulse"}
"""Keys that the next heartbeat sets, whatever is there: nobody has to mend them."""
FOREIGN = {
    "string": lambda client, key: client.set(key, "sesame"),
    "list": lambda client, key: client.rpush(key, "sesame"),
    "set": lambda client, key: client.sadd(key, "sesame"),
}


def queue_of(name):
    """Return the queue of which the keys of this name are spoilt."""
    return "default" if name == "tick_history" else f"of.{name}"


def keys_of(name):
    keys = queue_keys(queue_of(name))
    if name in OF_EACH:
        return OF_EACH[name](keys, int(time.time() * 1000))
    return [getattr(keys, name)]


class Scheduler:
    """A real one, its log and its metrics."""

    def __init__(self, floor):
        self.log = floor.folder / "scheduler.log"
        process = spawn(
            [sys.executable, "-m", "duly_scheduler"],
            log=self.log,
            folder=floor.folder,
            environment={
                **inherited(),
                "DULY_REDIS__PORT": str(floor.settings.port),
                "DULY_METRICS__HOST": "127.0.0.1",
                "DULY_METRICS__PORT": "0",
                "DULY_LOG__FORMAT": "json",
                "DULY_SCHEDULER__INTERVAL": "1s",
            },
        )
        floor.stack.callback(stop, process, grace_seconds=0.1)

    def readable(self):
        """Return queue → what the gauge says."""
        port = re.search(r'"metrics_port": ?(\d+)', self.log.read_text())
        if not port:
            return {}
        with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics", timeout=10) as reply:
            text = reply.read().decode()
        found = re.findall(r'^duly_queue_readable\{queue="(.*?)"\} (\d)', text, re.MULTILINE)
        return {queue: int(value) for queue, value in found}

    def said(self, event):
        """Return the lines of this event."""
        return [line for line in self.log.read_text().splitlines() if f'"{event}"' in line]


async def left_by_the_dead(floor, queues, options):
    """Let a worker die with a task of each queue; return the tasks, which end once they may."""
    doomed = floor.worker("doomed", queues=dict.fromkeys(queues, 1), **options)
    await floor.arrived(doomed)
    held = []
    for queue in queues:
        held += await floor.enqueue(queue=queue, held=True)
    narrow = {queue_of("permits"), queue_of("parked")} & set(queues)
    for queue in narrow:
        held += await floor.narrow(2, queue=queue, held=True)  # one runs, one is parked
    await floor.happened(What.START, len(queues) + len(narrow))
    doomed.kill9()
    return held


def spoil(client, name, foreign):
    """Put a foreign type under the keys of this name; return it."""
    foreign = "list" if foreign == "string" and KEY_TYPES.get(name) == "string" else foreign
    for key in keys_of(name):
        if client.exists(key):
            client.rename(key, f"{key}-aside")
        FOREIGN[foreign](client, key)
    return foreign


def mend(client, name):
    for key in keys_of(name):
        client.delete(key)
        if client.exists(f"{key}-aside"):
            client.rename(f"{key}-aside", key)


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_a_foreign_type_under_any_key_is_told_and_mended(floor, own_server, foreign):
    queues = [queue_of(name) for name in NAMES]
    damaged = [name for name in NAMES if name not in OVERWRITTEN]
    options = {"concurrency": 2 * len(queues), "lease_seconds": 2}
    held = await left_by_the_dead(floor, queues, options)

    with own_server.client() as client:
        spoilt = {name: spoil(client, name, foreign) for name in NAMES}
        scheduler = Scheduler(floor)
        worker = floor.worker("w", queues=dict.fromkeys([*queues, "other"], 1), **options)
        await until(
            lambda: (
                (gauge := scheduler.readable()).get("other") == 1
                and {queue for queue in gauge if not gauge[queue]} == set(map(queue_of, damaged))
            ),
            timeout=SECONDS,
            what="each damaged queue is told",
        )
        await floor.ended(await floor.enqueue(20, queue="other", failures=1))
        lines = scheduler.said("Queue unreadable")
        for name in damaged:
            (line,) = (line for line in lines if f'"queue":"{queue_of(name)}"' in line)
            assert f"key {keys_of(name)[0]} is a {spoilt[name]}, not a " in line
            assert "rename or delete it" in line
        for name in NAMES:
            mend(client, name)

    floor.go()
    await floor.ended(held)
    for queue in queues:
        await floor.ended(await floor.enqueue(queue=queue))
    await until(
        lambda: set(scheduler.readable().values()) == {1},
        timeout=SECONDS,
        what="every queue is readable again",
    )
    assert len(scheduler.said("Queue readable again")) == len(damaged)
    assert worker.process.poll() is None


MEMBERS = ["sesame", "sesame sesame", b"\xff\xfe", "9" * 30, "-1", "{", '{"sesame": [1]}', "empty"]
"""What other software may have put into a key of the right type, as its name and as its value."""
SCORES = [1, "9" * 15, "inf", "-inf"]


def add_members(client, name):
    """Put foreign members into a key of the right type."""
    for key in keys_of(name):
        for member, score in zip(MEMBERS, cycle(SCORES), strict=False):
            if KEY_TYPES[name] == "hash":
                client.hset(key, member, member)
            elif KEY_TYPES[name] == "zset":
                client.zadd(key, {member: score})
            else:
                client.xadd(key, {"data": member, "what": member, "queue": member})


@pytest.mark.parametrize("kind", ["hash", "zset", "stream"])
async def test_foreign_members_of_any_key_hold_up_nobody(floor, own_server, kind):
    names = [name for name in KEY_NAMES if KEY_TYPES[name] == kind]
    queues = [queue_of(name) for name in names]
    options = {"concurrency": 2 * len(queues) + 2, "lease_seconds": 2}
    held = await left_by_the_dead(floor, queues, options)

    with own_server.client() as client:
        for name in names:
            add_members(client, name)
    worker = floor.worker("w", queues=dict.fromkeys([*queues, "other"], 1), **options)
    scheduler = Scheduler(floor)
    await floor.ready(queue="other")
    await floor.ended(await floor.enqueue(20, queue="other", failures=1))
    floor.go()
    await floor.ended(held)
    for queue in queues:
        await floor.ended(await floor.enqueue(queue=queue, failures=1))

    await until(
        lambda: dict.fromkeys(queues, 1).items() <= scheduler.readable().items(),
        timeout=SECONDS,
        what="each queue is readable",
    )
    assert worker.process.poll() is None
    for text in (worker.text(), scheduler.log.read_text()):
        assert "Traceback" not in text
        assert "sesame" not in text
