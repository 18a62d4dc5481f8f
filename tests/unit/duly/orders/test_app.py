"""The check of pending orders as the application that runs where no other is named."""

import io
import subprocess
import sys
from datetime import timedelta

from pydantic import SecretStr

from duly.app.loading import load_app
from duly.app.provision import provided
from duly.app.resources import call
from duly.engine.middleware import Outcome
from duly.jobs.orders import CheckPendingOrders
from duly.orders.app import app, timetable
from duly.runtime import logs
from duly.runtime.loading import load
from duly.runtime.settings import DEFAULT_QUEUES, DatabaseSettings, LogSettings, Settings
from duly.schedule import Entry, Overlap
from duly.testing.idle import run_until_idle


async def the_check(**variables):
    """The entry of the check, among those that a fork may have added."""
    entries = await call(timetable, provided(app, load(Settings, environment=variables)))
    return next(entry for entry in entries if entry.id == "check-pending-orders")


def test_it_is_what_runs_where_no_other_is_named():
    assert load_app("") is app


def test_a_scheduler_reads_it_without_sqlalchemy():
    code = (
        "import sys\n"
        "for name in ('sqlalchemy', 'alembic', 'psycopg', 'aiosqlite', 'fastapi'):\n"
        "    sys.modules[name] = None\n"
        "from duly.app.loading import load_app\n"
        "print(load_app('').name)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.stdout == "orders\n", done.stderr


async def test_pending_orders_are_checked_every_five_seconds_without_overlap():
    entry = await the_check()

    assert entry == Entry(
        id="check-pending-orders",
        job=CheckPendingOrders(),
        interval=timedelta(seconds=5),
        overlap=Overlap.SKIP,
    )
    assert entry.target in DEFAULT_QUEUES


async def test_the_interval_is_a_setting():
    entry = await the_check(DULY_SCHEDULER__INTERVAL="2m")

    assert entry.interval == timedelta(minutes=2)


async def test_its_task_checks_the_database_that_the_settings_name(
    broker_settings, engine, database_url
):
    stream = io.StringIO()
    logs.configure(LogSettings(), service="worker", stream=stream)
    configuration = Settings(
        redis=broker_settings, database=DatabaseSettings(url=SecretStr(database_url))
    )
    async with app.connect(broker_settings) as client:
        await client.enqueue(CheckPendingOrders())

    (ran,) = await run_until_idle(broker_settings, app, configuration=configuration)

    assert ran.outcome is Outcome.SUCCEEDED, ran.error
    assert "Pending orders checked" in stream.getvalue()
