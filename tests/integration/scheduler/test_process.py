"""The scheduler as a process: its start without a broker, its ticks, its outages, its end."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from duly.testing.processes import free_port
from duly.testing.waiting import wait_until
from duly_scheduler.app import REMIND_EVERY

SECONDS = 90.0
pytestmark = pytest.mark.timeout(400)


def test_a_wrong_setting_is_one_line_and_code_two(start):
    scheduler = start(1, DULY_SCHEDULER__INTERVALL="5s")

    assert scheduler.process.wait(SECONDS) == 2
    assert scheduler.text() == (
        "DULY_SCHEDULER__INTERVALL: scheduler.intervall: unknown variable "
        "(did you mean DULY_SCHEDULER__INTERVAL?)\n"
    )


def error(scheduler):
    """Return what follows the line that it starts: one line."""
    starting, *rest = scheduler.text().splitlines()
    assert starting.endswith("Scheduler starting")
    (line,) = rest
    return line


def test_a_wrong_file_of_entries_is_one_line_and_code_two(start, tmp_path):
    (tmp_path / "entries.yaml").write_text("entries: {a: {kind: check_pending_orders}}")
    scheduler = start(1, DULY_SCHEDULER__ENTRIES_FILE=str(tmp_path / "entries.yaml"))

    assert scheduler.process.wait(SECONDS) == 2
    assert error(scheduler) == (
        "timetable entry a: interval: neither interval nor cron is given (give one of them)"
    )


def test_a_port_that_is_taken_is_one_line_and_code_two(start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        scheduler = start(1, DULY_METRICS__PORT=port)

        assert scheduler.process.wait(SECONDS) == 2
    assert error(scheduler).startswith("metrics.port: ")
    assert f"listen on 127.0.0.1:{port}: " in error(scheduler)


def test_failing_fast_without_a_broker_is_code_one(start):
    scheduler = start(free_port(), "--fail-fast")

    assert scheduler.process.wait(SECONDS) == 1
    assert scheduler.text().count("ERROR Broker unreachable error=") == 1
    assert "Traceback" not in scheduler.text()


def test_without_a_broker_it_is_alive_but_not_ready_and_still_stops(start, stopwatch):
    began = time.monotonic()
    scheduler = start(free_port())

    scheduler.said("ERROR Broker unreachable, retrying")
    assert scheduler.ask("/livez") == (200, "ok\n")
    assert scheduler.ask("/readyz") == (503, "the broker has not answered yet\n")
    signalled = stopwatch()
    assert scheduler.end() == 0

    assert stopwatch() - signalled < 3
    most = 1 + (time.monotonic() - began) // REMIND_EVERY.total_seconds()
    assert scheduler.text().count("Broker unreachable") <= most


def test_it_starts_to_tick_when_the_broker_becomes_reachable(start, own_server):
    own_server.stop()
    scheduler = start(own_server.port)
    scheduler.said("ERROR Broker unreachable, retrying")

    own_server.start()

    scheduler.said("INFO  Broker reachable again")
    scheduler.said("Tick enqueued")
    scheduler.ready()


def test_its_metrics_count_the_ticks(start, own_server):
    scheduler = start(own_server.port)
    scheduler.said("Tick enqueued")
    scheduler.said("Tick skipped", times=3)

    _, text = scheduler.ask("/metrics")

    assert 'duly_ticks_total{entry="check-pending-orders",outcome="enqueued"} 1.0' in text
    assert 'duly_tick_lag_seconds_count{entry="check-pending-orders"}' in text
    assert "WARNING Tick skipped" in scheduler.text()


def test_an_outage_is_logged_once_and_ticks_continue_after_it(start, own_server):
    scheduler = start(own_server.port)
    scheduler.ready()

    own_server.kill9()
    scheduler.said("Broker unreachable, retrying")
    wait_until(lambda: scheduler.ask("/readyz")[0] == 503, timeout=SECONDS, what="not ready")
    own_server.start()
    scheduler.said("Broker reachable again")
    scheduler.ready()

    assert scheduler.text().count("Broker unreachable") == 1
    ticks = scheduler.text().count("Tick ")
    scheduler.said("Tick ", times=ticks + 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_a_second_while_the_broker_hangs(start, own_server, number, stopwatch):
    scheduler = start(own_server.port)
    scheduler.ready()
    own_server.pause()

    signalled = stopwatch()
    code = scheduler.end(number)
    seconds = stopwatch() - signalled

    own_server.resume()
    assert code == 0
    assert seconds < 2.0  # 0.2 s on an idle machine
    assert scheduler.text().splitlines()[-1].endswith("INFO  Scheduler stopped")


def test_it_imports_neither_database_nor_web_framework():
    code = (
        # taskiq's dependencies import FastAPI where they find it: here it is there for tests.
        "import sys; sys.modules['fastapi'] = None; import duly_scheduler.app;"
        "print([n for n in ('sqlalchemy', 'starlette', 'jinja2', 'uvicorn') if n in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=SECONDS
    )

    assert done.stdout == "[]\n"
