"""A check in shards by two worker processes, on a real broker and PostgreSQL."""

import asyncio
import os
import re
import sys

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from duly.clock import SystemClock
from duly.jobs.orders import CheckPendingOrders
from duly.orders.session import open_engine
from duly.orders.tables import ORDERS
from duly.runtime.settings import DatabaseSettings
from duly_worker.bulk import seed_many
from duly_worker.migrate import migrate
from duly_worker.settings import Settings

DEADLINE = 120
PENDING = 21_000


@pytest.fixture
async def database(postgres_url):
    settings = Settings(database=DatabaseSettings(url=SecretStr(postgres_url)))
    await migrate(settings)
    await seed_many(settings, PENDING, pending=PENDING)
    return postgres_url


@pytest.fixture
def extra():
    """Settings of a test's own."""
    return {}


@pytest.fixture
async def workers(database, broker_settings, tmp_path, extra):
    """The logs of two workers, which grow while they run."""
    environment = {
        **os.environ,
        "DULY_DATABASE__URL": database,
        "DULY_ORDERS__SHARDS": "4",
        "DULY_REDIS__HOST": broker_settings.host,
        "DULY_REDIS__PORT": str(broker_settings.port),
        "DULY_METRICS__ENABLED": "false",
        **extra,
    }
    words = ("-m", "duly_worker", "--queue", "default", "--concurrency", "1")
    files = [tmp_path / f"worker-{number}.log" for number in (1, 2)]
    processes = []
    for file in files:
        with file.open("wb") as log:
            processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, *words, stdout=log, stderr=log, cwd=tmp_path, env=environment
                )
            )
    yield files
    for process in processes:
        process.terminate()
    for process in processes:
        async with asyncio.timeout(DEADLINE):
            await process.wait()


async def test_between_two_workers_each_order_is_logged_once(workers, client, until):
    await until(
        lambda: all("Worker started" in file.read_text() for file in workers), timeout=DEADLINE
    )
    task = await client.enqueue(CheckPendingOrders())

    def summaries():
        text = "".join(file.read_text() for file in workers)
        return re.findall(r"Pending orders checked (.*)", text)

    await until(summaries, timeout=DEADLINE)

    found = [re.findall(r"Pending order found order_id=(\d+) ", f.read_text()) for f in workers]
    assert sorted(int(order) for each in found for order in each) == list(range(1, PENDING + 1))
    (summary,) = summaries()
    assert f"pending={PENDING} logged={PENDING} " in summary
    assert summary.endswith(f"run_id={task.id}")


@pytest.fixture
def changes(extra):
    """Let the workers log what changed."""
    extra |= {"DULY_ORDERS__LOG": "changes", "DULY_ORDERS__LOG_AGE": "3650d"}


@pytest.fixture
def checked(workers, client, until):
    """Return a function that runs a check, and returns the orders that each worker logged."""
    seen = [0, 0]

    async def check():
        task = await client.enqueue(CheckPendingOrders())
        end = f"run_id={task.id}"
        await until(
            lambda: any(
                "Pending orders checked" in line and line.endswith(end)
                for file in workers
                for line in file.read_text().splitlines()
            ),
            timeout=DEADLINE,
        )
        found = []
        for number, file in enumerate(workers):
            text = file.read_text()
            found.append(re.findall(r"Pending order found order_id=(\d+) ", text[seen[number] :]))
            seen[number] = len(text)
        return found

    return check


@pytest.mark.usefixtures("changes")
async def test_whichever_worker_has_a_shard_a_change_is_logged_once(
    workers, checked, database, until
):
    await until(
        lambda: all("Worker started" in file.read_text() for file in workers), timeout=DEADLINE
    )
    first = await checked()
    assert sorted(int(order) for each in first for order in each) == list(range(1, PENDING + 1))

    logged, sharing = [], set()
    async with open_engine(DatabaseSettings(url=SecretStr(database))) as engine:
        for number in range(8):
            # One of each shard, in turn, so that what one has logged comes to the other.
            wanted = [1 + (number + part * PENDING // 4) for part in range(4)]
            async with engine.begin() as connection:
                changed = update(ORDERS).where(ORDERS.c.id.in_(wanted))
                await connection.execute(changed.values(updated_at=SystemClock().now()))
            found = await checked()
            logged += [int(order) for each in found for order in each]
            sharing |= {number for number, each in enumerate(found) if each}
            assert sorted(logged[-4:]) == wanted
            assert len(logged) == 4 * (number + 1), "nothing is logged again"
    assert sharing == {0, 1}, "both workers had parts"
    assert sum(map(len, await checked())) == 0
