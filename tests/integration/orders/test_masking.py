"""With `log.mask_email` nothing that the system writes or stores holds a customer's address."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.job import Job, Policy
from duly.jobs.orders import CheckPendingOrders
from duly.orders.schema import upgrade
from duly.orders.session import open_engine
from duly.runtime.settings import DatabaseSettings
from duly.task import TaskState
from duly.testing.environment import inherited
from duly.testing.processes import free_port, stop

SECONDS = 90.0
SECRET = re.compile(rb"seeded.{0,12}person", re.IGNORECASE)


class Leak(Job, kind="leak", policy=Policy(max_attempts=1)):
    """See leaky.py."""


async def filled(url):
    async with open_engine(DatabaseSettings(url=url)) as engine:
        await upgrade(engine)
    database = sqlite3.connect(url.partition("///")[2])
    with database:
        for number in range(1, 6):
            name = f"seeded{number}.person"
            customer = (number, f"{name}@mail.example", f"{name}@shop.example")
            database.execute("INSERT INTO customers VALUES (?, ?, ?)", customer)
            order = (number, number, "pending", "2026-01-01", "2026-01-01")
            # By name: a fork may have added a column.
            columns = "(id, customer_id, status, created_at, updated_at)"
            database.execute(f"INSERT INTO orders {columns} VALUES (?, ?, ?, ?, ?)", order)
    database.close()


def stored(settings):
    """Return everything that the broker holds, as bytes."""
    readers = {
        b"string": lambda client, key: client.get(key),
        b"hash": lambda client, key: client.hgetall(key),
        b"zset": lambda client, key: client.zrange(key, 0, -1),
        b"set": lambda client, key: client.smembers(key),
        b"list": lambda client, key: client.lrange(key, 0, -1),
        b"stream": lambda client, key: client.xrange(key),
    }
    with redis.Redis(host=settings.host, port=settings.port) as client:
        found = [(key, readers[client.type(key)](client, key)) for key in client.scan_iter()]
    return repr(found).encode()


@pytest.fixture
def worker(own_server, sqlite_url, tmp_path):
    """A worker of the application `leaky`, its log and the port of its metrics."""
    log, port = tmp_path / "worker.log", free_port()
    settings = own_server.settings()
    here = str(Path(__file__).parent)
    environment = {
        **inherited(),
        "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
        "DULY_REDIS__HOST": settings.host,
        "DULY_REDIS__PORT": str(settings.port),
        "DULY_DATABASE__URL": sqlite_url,
        "DULY_METRICS__PORT": str(port),
        "DULY_LOG__LEVEL": "DEBUG",
        "DULY_LOG__MASK_EMAIL": "true",
        "DULY_LOG__MASK_KEY": "a key of this test",
    }
    asyncio.run(filled(sqlite_url))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "duly_worker", "--app", "leaky:app", "--queue", "default"],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env=environment,
        )
    yield settings, log, port
    stop(process, grace_seconds=SECONDS)


async def test_no_address_is_written_or_stored(worker, until):
    settings, log, port = worker
    async with Client.connect(settings) as client, Inspector.connect(settings) as inspector:
        await client.enqueue(CheckPendingOrders(), task_id="check")
        await client.enqueue(Leak(), task_id="leak")

        async def archived():
            return (await inspector.tasks.list("default", TaskState.ARCHIVED, limit=9)).tasks

        dead = await until(archived, timeout=SECONDS)
        attempt = (await inspector.tasks.get("default", dead[0].id)).history[-1]
        await until(lambda: b"Pending orders checked" in log.read_bytes(), timeout=SECONDS)

    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as answer:
        metrics = answer.read()
    lines, held = log.read_bytes(), stored(settings)
    assert "s***@shop.example" in attempt.error
    assert "s***@shop.example" in attempt.traceback
    digests = re.findall(rb"customer_email=s\*\*\*@shop.example customer_digest=(\w{16})\n", lines)
    assert len(set(digests)) == 5
    assert lines.count(b"***@") > 5 + 3
    assert b"***@" in held
    assert [SECRET.findall(where) for where in (lines, held, metrics)] == [[], [], []]
