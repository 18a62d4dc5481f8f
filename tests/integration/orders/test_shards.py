"""A check in shards by two worker processes, on a real broker and PostgreSQL."""

import asyncio
import os
import re
import sys

import pytest
from pydantic import SecretStr

from duly.jobs.orders import CheckPendingOrders
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
async def workers(database, broker_settings, tmp_path):
    """The logs of two workers, which grow while they run."""
    environment = {
        **os.environ,
        "DULY_DATABASE__URL": database,
        "DULY_ORDERS__SHARDS": "4",
        "DULY_REDIS__HOST": broker_settings.host,
        "DULY_REDIS__PORT": str(broker_settings.port),
        "DULY_METRICS__ENABLED": "false",
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
