"""The reader of a worker's log stands still: nothing stops but the check that fills the log."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from duly.job import Job, Policy
from duly.jobs.orders import CheckPendingOrders
from duly.orders.schema import upgrade
from duly.orders.session import open_engine
from duly.runtime.settings import DatabaseSettings
from duly.testing.environment import inherited
from duly.testing.processes import free_port, stop
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)
ORDERS = 5_000
"""Their lines are ten times what the pipe holds, and five times what the buffer holds too."""
SECONDS = 90.0


class Nothing(Job, kind="nothing", policy=Policy(queue="low")):
    """Another task: see log_app.py."""


async def filled(url):
    """Fill a SQLite database with pending orders."""
    async with open_engine(DatabaseSettings(url=url)) as engine:
        await upgrade(engine)
    rows = range(1, ORDERS + 1)
    with sqlite3.connect(url.partition("///")[2]) as database:
        database.execute("INSERT INTO customers VALUES (1, 'ann', 'ann@example.com')")
        order = "INSERT INTO orders VALUES (?, 1, 'pending', '2026-01-01', '2026-01-01')"
        database.executemany(order, [(number,) for number in rows])
    database.close()


class Watched:
    """A real worker whose standard output is a pipe to a reader that can be stopped."""

    def __init__(self, floor, url, **settings):
        self.name, self.log, self.port = "watched", floor.folder / "out.log", free_port()
        reading, writing = os.pipe()
        with self.log.open("wb") as log:
            self.reader = subprocess.Popen(["cat"], stdin=reading, stdout=log)
        broker = floor.settings.model_dump(mode="json")
        here = str(Path(__file__).parent)
        environment = {
            **inherited(),
            "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
            "DULY_REDIS__HOST": broker["host"],
            "DULY_REDIS__PORT": str(broker["port"]),
            "DULY_DATABASE__URL": url,
            "DULY_METRICS__PORT": str(self.port),
            "DULY_LOG__BUFFER_BYTES": "65536",
            **settings,
        }
        words = ("--app", "log_app:app", "--queue", "default", "--queue", "low")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "duly_worker", *words],
            stdout=writing,
            cwd=floor.folder,
            env=environment,
        )
        os.close(reading)
        os.close(writing)
        floor.stack.callback(self.end)

    def end(self):
        self.reader.send_signal(signal.SIGCONT)
        stop(self.process, grace_seconds=0.1)
        self.reader.wait(SECONDS)

    def text(self):
        return self.log.read_text(encoding="utf-8")

    def get(self, path):
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()

    def dropped(self):
        text = self.get("/metrics")[1]
        return int(float(re.search(r"^duly_log_lines_dropped_total (\S+)$", text, re.MULTILINE)[1]))


def found(text):
    """Return the ids of all orders that have a line, each a whole one."""
    whole = r"^\S{24} INFO  Pending order found order_id=(\d+) customer_username=ann "
    return [
        int(each)
        for each in re.findall(whole + "customer_email=ann@example.com$", text, re.MULTILINE)
    ]


def told(text):
    """Return how many lines were dropped, as the log says."""
    lines = re.findall(r"^\S{24} WARNING Log lines dropped lines=(\d+)$", text, re.MULTILINE)
    return sum(map(int, lines))


async def others_run(floor, watched, *, seconds):
    """Run tasks of another queue, one after the other, for so long; nothing else may stand."""
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        count += 1
        await floor.client.enqueue(Nothing(), task_id=f"n{count}")
        await floor.idle("low")
        assert (await asyncio.to_thread(watched.get, "/livez")) == (200, "ok\n")
    for queue in ("default", "low"):
        assert (await floor.inspector.queues.get(queue)).crashed == 0


@pytest.mark.fault("log not read")
@pytest.mark.parametrize(
    ("when_full", "lease", "stopped"),
    [
        pytest.param("wait", 3, 9, id="wait"),
        pytest.param("drop", 3, 9, id="drop"),
        pytest.param("wait", 10, 30, id="wait for 30 s"),
    ],
)
async def test_a_log_that_nobody_reads_stops_neither_leases_nor_tasks(
    floor, sqlite_url, when_full, lease, stopped
):
    await filled(sqlite_url)
    settings = {"DULY_WORKER__LEASE": f"{lease}s", "DULY_LOG__WHEN_FULL": when_full}
    watched = Watched(floor, sqlite_url, **settings)
    await floor.arrived(watched)

    watched.reader.send_signal(signal.SIGSTOP)
    await floor.client.enqueue(CheckPendingOrders(), task_id="check")
    await others_run(floor, watched, seconds=stopped)
    state = (await floor.inspector.queues.get("default")).active
    assert state == (1 if when_full == "wait" else 0)
    watched.reader.send_signal(signal.SIGCONT)
    await floor.idle()

    await until(lambda: "Pending orders checked" in watched.text(), timeout=SECONDS)
    text = watched.text()
    pending = rf"Pending orders checked pending={ORDERS} logged={len(found(text))} "
    assert re.search(pending, text), text[-500:]
    assert watched.dropped() == told(text) == ORDERS - len(found(text))
    if when_full == "wait":
        assert found(text) == [*range(1, ORDERS + 1)]
    else:
        assert 0 < len(found(text)) < ORDERS
    assert stop(watched.process, grace_seconds=SECONDS) == 0
