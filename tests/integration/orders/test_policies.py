"""What a worker process logs by `orders.log: changes`, on a real broker and both databases."""

import asyncio
import json
import os
import sys

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from duly.clock import SystemClock
from duly.jobs.orders import CheckPendingOrders
from duly.orders.session import open_engine
from duly.orders.tables import ORDERS
from duly.runtime.settings import DatabaseSettings
from duly_worker.migrate import migrate
from duly_worker.seed import seed
from duly_worker.settings import Settings

DEADLINE = 120


@pytest.fixture
async def engine(database_url):
    settings = Settings(database=DatabaseSettings(url=SecretStr(database_url)))
    await migrate(settings)
    await seed(settings)
    async with open_engine(settings.database) as engine:
        yield engine


@pytest.fixture
async def log(engine, database_url, broker_settings, tmp_path):
    """The log of a worker, which grows while it runs."""
    environment = {
        **os.environ,
        "DULY_DATABASE__URL": database_url,
        "DULY_ORDERS__LOG": "changes",
        "DULY_ORDERS__LOG_AGE": "3650d",
        "DULY_LOG__LEVEL": "DEBUG",
        "DULY_LOG__FORMAT": "json",
        "DULY_LOG__MASK_EMAIL": "true",
        "DULY_REDIS__HOST": broker_settings.host,
        "DULY_REDIS__PORT": str(broker_settings.port),
        "DULY_METRICS__ENABLED": "false",
    }
    file = tmp_path / "worker.log"
    with file.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "duly_worker", "--queue", "default"),
            stdout=out,
            stderr=out,
            cwd=tmp_path,
            env=environment,
        )
    yield file
    process.terminate()
    async with asyncio.timeout(DEADLINE):
        await process.wait()


@pytest.fixture
def checked(log, client, until):
    """Return a function that runs a check, and returns its orders, items and summary."""
    seen = 0

    def lines(message, start=0):
        # The last line may not be whole yet.
        whole = log.read_text().split("\n")[start:-1]
        return [it for it in map(json.loads, whole) if it["message"] == message]

    async def check():
        nonlocal seen
        await client.enqueue(CheckPendingOrders())
        await until(lambda: lines("Pending orders checked", seen), timeout=DEADLINE)
        orders = lines("Pending order found", seen)
        items = lines("Order item details", seen)
        (summary,) = lines("Pending orders checked", seen)
        seen = log.read_text().count("\n")
        return orders, items, summary

    return check


async def test_a_worker_logs_everything_once_and_then_changes(checked, engine):
    orders, items, summary = await checked()
    assert len(orders) == summary["pending"] == summary["logged"] == 40
    assert len(items) >= 40
    assert (summary["suppressed"], summary["pages"]) == (0, 1)
    assert summary["oldest_age"] > 0

    orders, items, summary = await checked()
    assert (orders, items) == ([], [])
    assert (summary["pending"], summary["logged"], summary["suppressed"]) == (40, 0, 40)

    async with engine.begin() as connection:
        pending = select(ORDERS.c.id).where(ORDERS.c.status == "pending").order_by(ORDERS.c.id)
        *_, last = (await connection.execute(pending)).scalars()
        changed = update(ORDERS).where(ORDERS.c.id == last)
        await connection.execute(changed.values(updated_at=SystemClock().now()))
    (order,), items, summary = await checked()
    assert order["order_id"] == last
    assert "***@" in order["customer_email"]
    assert items
    assert (summary["logged"], summary["suppressed"]) == (1, 39)
