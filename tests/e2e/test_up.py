"""`duly up` with the real services: from an empty directory to log lines, and what it survives."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from datetime import datetime

import pytest

from duly.testing.waiting import wait_until

FOUND = r"Pending order found order_id=\S+ customer_username=\S+ customer_email=\S+"
CHECKED = r"^worker-default +\| .+ Pending orders checked .*run_id=(\S+)"
PERIOD_SECONDS = 5
DEFAULT_WORKER = "duly_worker --queue default"


@pytest.fixture
def up(local_run):
    run = local_run("--port", "0")
    run.until(FOUND)
    return run


def _duly(run, *words):
    """Return what `duly … --json` says in the directory of the run: it finds the Valkey itself."""
    done = subprocess.run(
        [sys.executable, "-m", "duly.cli", *words, "--json"],
        cwd=run.folder,
        env=run.environment,
        capture_output=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


def _ticks(run):
    ticks = _duly(run, "schedules", "history", "check-pending-orders")["ticks"]
    return [tick for tick in ticks if tick["outcome"] == "enqueued"]


def _slots(run):
    return sorted(datetime.fromisoformat(tick["slot"]).timestamp() for tick in _ticks(run))


def _gaps(run):
    return [after - before for before, after in itertools.pairwise(_slots(run))]


def test_orders_are_logged_on_the_grid_and_shown_by_the_monitor(up):
    # A machine under load may miss a slot, never have one twice.
    wait_until(lambda: PERIOD_SECONDS in _gaps(up), timeout=120)

    assert {slot % PERIOD_SECONDS for slot in _slots(up)} == {0}
    assert min(_gaps(up)) == PERIOD_SECONDS
    checks = set(re.findall(CHECKED, up.text, re.MULTILINE))
    assert checks
    assert checks <= {tick["task_id"] for tick in _ticks(up)}
    page = urllib.request.urlopen(up.facts["monitor"], timeout=60).read().decode()
    assert {name for name in ("critical", "default", "low") if name in page} == {
        "critical",
        "default",
        "low",
    }


def test_killed_worker_is_replaced_and_the_check_goes_on(up, stopwatch):
    before = len(re.findall(FOUND, up.text))
    os.kill(up.pid_of(DEFAULT_WORKER), signal.SIGKILL)
    killed = stopwatch()

    up.until("worker-default was killed by SIGKILL: restarting")
    up.until(FOUND, times=before + 1)

    assert stopwatch() - killed < 15
    assert _duly(up, "queues", "inspect", "default")["queues"][0]["archived"] == 0


def test_sigterm_ends_everything_in_time_and_keeps_the_data(up, local_run, stopwatch):
    ticks = len(_ticks(up))
    started = stopwatch()

    up.send(signal.SIGTERM)

    assert up.ended() == 0
    assert stopwatch() - started < 10
    assert not up.alive()
    again = local_run("--port", "0", folder=up.folder)
    again.until(FOUND)
    assert len(_ticks(again)) > ticks


def test_debug_logs_the_items_too(local_run):
    run = local_run("--port", "0", DULY_LOG__LEVEL="DEBUG")

    run.until(r"Order item details product_name=.+ quantity=\d+ unit_price=\d+\.\d\d")


def test_unreadable_database_is_one_clear_line(local_run, tmp_path):
    (tmp_path / "orders.db").write_text("this is no database, but a text of some length" * 100)

    run = local_run("--port", "0", DULY_DATABASE__URL=f"sqlite+aiosqlite:///{tmp_path}/orders.db")

    assert run.ended() == 2
    assert run.text.count("\n") == 1
    assert "database" in run.text
    assert not run.alive()


def test_wrong_key_is_one_clear_line(local_run, tmp_path):
    (tmp_path / "duly.yaml").write_text("async:\n  monitor:\n    prot: 1\n")

    run = local_run()

    assert run.ended() == 2
    assert run.text.count("\n") == 1
    assert "async.monitor.prot" in run.text
