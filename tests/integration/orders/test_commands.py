"""`python -m duly_worker migrate|seed` as processes, as operators and Kubernetes run them."""

import asyncio
import os
import re
import signal
import sys
from io import StringIO

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from duly.jobs.orders import CheckPendingOrders
from duly.orders.check import PendingOrdersCheck
from duly.orders.database import OrdersDatabase
from duly.orders.session import open_engine
from duly.orders.tables import ORDER_ITEMS, ORDERS
from duly.runtime.lines import LineWriter
from duly.runtime.output import Output
from duly.runtime.settings import DatabaseSettings, LogSettings
from duly.task import TaskContext
from duly_worker.migrate import migrate
from duly_worker.seed import seed
from duly_worker.settings import Settings

DEADLINE = 120


@pytest.fixture
def command(database_url, tmp_path):
    """Return a function that starts `python -m duly_worker` on an empty database."""
    processes = []

    async def start(*words):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "error", "-m", "duly_worker", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "DULY_DATABASE__URL": database_url},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()


async def ended(process):
    async with asyncio.timeout(DEADLINE):
        out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


async def test_migrations_in_two_processes_are_applied_once(command, revisions):
    both = [await command("migrate") for _ in range(2)]

    results = sorted([await ended(process) for process in both])

    assert results == [(0, f"applied {', '.join(revisions)}\n", ""), (0, "nothing to apply\n", "")]


async def test_a_waiting_process_ends_after_the_migration(command, revisions):
    waiting = await command("migrate", "--wait")

    assert await ended(await command("migrate")) == (0, f"applied {', '.join(revisions)}\n", "")
    assert await ended(waiting) == (0, "", "")


async def test_the_trickle_adds_orders_and_ends_on_sigterm_with_0(command, database_url, until):
    await ended(await command("migrate"))
    process = await command("seed", "--trickle")

    async with open_engine(DatabaseSettings(url=SecretStr(database_url))) as engine:

        async def grown():
            async with engine.connect() as connection:
                return await connection.scalar(select(func.count()).select_from(ORDERS)) > 240

        await until(grown, timeout=DEADLINE)
    process.send_signal(signal.SIGTERM)

    code, _, error = await ended(process)
    assert (code, error) == (0, "")


async def run_check(settings, log):
    stream = StringIO()
    lines = LineWriter(output=Output(log, service="worker", stream=stream))
    async with (
        OrdersDatabase.open(settings.database) as orders,
        open_engine(settings.database) as engine,
    ):
        handler = PendingOrdersCheck(orders, lines)
        context = TaskContext(id="0a1b", queue="default", kind=CheckPendingOrders.kind)
        await handler(CheckPendingOrders(), context)
        pending = select(ORDERS.c.id).where(ORDERS.c.status == "pending")
        items = select(func.count()).where(ORDER_ITEMS.c.order_id.in_(pending))
        async with engine.connect() as connection:
            count = await connection.scalar(items)
    return stream.getvalue().splitlines(), count


@pytest.fixture
async def demo(database_url):
    settings = Settings(database=DatabaseSettings(url=SecretStr(database_url)))
    await migrate(settings)
    await seed(settings)
    return settings


ORDER = re.compile(
    r"^\S+ INFO  ?Pending order found order_id=\d+ "
    r"customer_username=[\w.-]+ customer_email=[\w.-]+@example\.com$"
)
ITEM = re.compile(
    r"^\S+ DEBUG Order item details product_name=(\"(\\.|[^\"\\])+\"|[^\s\"]+) "
    r"quantity=[1-5] unit_price=\d+\.\d{2,4}$"
)
SUMMARY = re.compile(
    r"^\S+ INFO  ?Pending orders checked pending=40 logged=40 suppressed=0 oldest_age=[\d.]+ "
    r"pages=1 duration=[\d.]+ run_id=0a1b$"
)


async def test_the_log_has_a_line_for_each_pending_order_of_the_demo(demo):
    *orders, summary = (await run_check(demo, LogSettings(level="INFO")))[0]

    assert len(orders) == 40
    assert [line for line in orders if not ORDER.match(line)] == []
    assert SUMMARY.match(summary), summary


async def test_at_debug_the_log_has_a_line_for_each_item_too(demo):
    lines, items = await run_check(demo, LogSettings(level="DEBUG"))

    found = [line for line in lines if ITEM.match(line)]
    others = [line for line in lines if not ITEM.match(line)]
    assert len(found) == items > 40
    assert [line for line in others[:-1] if not ORDER.match(line)] == []
    assert SUMMARY.match(others[-1]), others[-1]
