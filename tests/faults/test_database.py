"""The database of orders refuses a check: it is retried, in one clear line, and all else runs."""

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from duly.job import Job, Policy
from duly.jobs.orders import CheckPendingOrders
from duly.orders.schema import upgrade
from duly.orders.tables import CUSTOMERS, ORDERS
from duly.testing.environment import inherited
from duly.testing.history import What
from duly.testing.processes import spawn, stop
from duly.testing.waiting import until

pytestmark = pytest.mark.timeout(400)
SECONDS = 90.0
PENDING = 20
NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
PATIENT = "?options=-c%20lock_timeout%3D60s%20-c%20deadlock_timeout%3D4s"
"""Sessions of the worker wait for a lock until they are the victim of a deadlock."""
WAITING = text(
    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'w'"
)


class Nothing(Job, kind="nothing", policy=Policy(queue="low")):
    """Another task: see log_app.py."""


class Watched:
    """A worker that checks the orders, and runs tasks that need no database."""

    def __init__(self, floor, url, **settings):
        self.log = floor.folder / "watched.log"
        here = str(Path(__file__).parent)
        words = ("--app", "log_app:app", "--queue", "default", "--queue", "low")
        self.process = spawn(
            [sys.executable, "-m", "duly_worker", *words],
            log=self.log,
            folder=floor.folder,
            environment={
                **inherited(),
                "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
                "DULY_REDIS__PORT": str(floor.settings.port),
                "DULY_DATABASE__URL": f"{url}{PATIENT}&application_name=w",
                "DULY_DATABASE__STATEMENT_TIMEOUT": "60s",
                # A statement may take four fifths of the period.
                "DULY_SCHEDULER__INTERVAL": "60s",
                "DULY_METRICS__ENABLED": "false",
                **settings,
            },
        )
        floor.stack.callback(stop, self.process, grace_seconds=0.1)

    def lines(self, *words):
        """Return the lines of the log that contain all these words."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if all(word in line for word in words)]


@pytest.fixture
async def orders(postgres_url):
    """A database with pending orders; connections are closed at once."""
    engine = create_async_engine(postgres_url, poolclass=NullPool)
    await upgrade(engine)
    async with engine.begin() as connection:
        await connection.execute(insert(CUSTOMERS), [{"username": "a", "email": "a@example.com"}])
        rows = [
            {"customer_id": 1, "status": "pending", "created_at": NOON, "updated_at": NOON}
            for _ in range(PENDING)
        ]
        await connection.execute(insert(ORDERS), rows)
    yield engine
    await engine.dispose()


async def checked(floor, *names):
    """Enqueue checks, and note what is accepted."""
    for name in names:
        await floor.client.enqueue(CheckPendingOrders(), task_id=name)
        floor.history.add(What.ENQUEUED, name)


async def waiting(orders, count=1):
    """Wait until so many sessions of the worker wait for a lock; return their process ids."""

    async def so():
        async with orders.connect() as connection:
            found = (await connection.execute(WAITING)).scalars().all()
        return found if len(found) >= count else None

    return await until(so, timeout=SECONDS, what="a check waits for a lock")


async def others_run(floor, count=20):
    """Run tasks that need no database, while a check waits."""
    for number in range(count):
        await floor.client.enqueue(Nothing(), task_id=f"n{number}")
    await floor.idle("low")


async def deadlock(floor, orders, blocking, watched):
    """Lock what a check needs in an order that makes it the victim."""
    await checked(floor, "check")
    await waiting(orders)
    await others_run(floor)
    await blocking.execute(text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
    return "deadlock detected"


async def exhausted_pool(floor, orders, blocking, watched):
    """Let one check have the only connection, and another one wait for it in vain."""
    await checked(floor, "check", "other")
    await waiting(orders)
    await others_run(floor)
    return "every connection of this process is in use"


async def killed_sessions(floor, orders, blocking, watched):
    """End the session of a check that waits, as an administrator does."""
    await checked(floor, "check")
    (pid,) = await waiting(orders)
    await others_run(floor)
    async with orders.connect() as connection:
        await connection.execute(text(f"SELECT pg_terminate_backend({pid})"))
    return "terminating connection"


@pytest.mark.fault("database")
@pytest.mark.parametrize("fault", [deadlock, exhausted_pool, killed_sessions])
async def test_a_check_that_the_database_refuses_is_retried_in_one_clear_line(
    floor, orders, postgres_url, fault
):
    watched = Watched(floor, postgres_url, DULY_DATABASE__POOL_SIZE="1")
    await floor.ready()
    async with orders.begin() as blocking:
        await blocking.execute(text("SET LOCAL deadlock_timeout = '60s'"))
        await blocking.execute(text("LOCK TABLE customers IN ACCESS EXCLUSIVE MODE"))
        said = await fault(floor, orders, blocking, watched)
        floor.measured.faults += 1
        await until(lambda: watched.lines(said), timeout=SECONDS, what=said)

    await floor.idle()
    accepted = floor.count(What.ENQUEUED)
    await until(lambda: len(watched.lines("Pending orders checked")) == accepted, timeout=SECONDS)
    for line in watched.lines("Pending orders checked"):
        name = re.search(r"run_id=(\S+)", line)[1]
        assert f"pending={PENDING} logged={PENDING}" in line
        floor.history.add(What.START, name)
        floor.history.add(What.EFFECT, name)
        floor.history.add(What.END, name)
    found = await floor.verdict()
    assert found.good, found
    assert 1 <= len(watched.lines(said)) <= 2
    assert watched.lines(said) == watched.lines("WARNING"), "nothing else is said"
    assert watched.lines(said) == watched.lines("Task failed, will be retried")
    assert not watched.lines("Traceback")
    assert not watched.lines("sqlalche.me")
    assert not watched.lines("SELECT")
    assert not watched.lines("Process ")
    assert (await floor.inspector.queues.get("default")).crashed == 0
