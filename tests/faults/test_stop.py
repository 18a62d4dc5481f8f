"""Every way to stop a worker, on real processes: what runs, what waits, and what is left."""

import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from duly.engine.blocking import BlockingClient
from duly.testing.environment import inherited
from duly.testing.processes import spawn, stop
from duly.testing.waiting import wait_until

HERE = Path(__file__).parent
SECONDS = 30.0


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import stopping_jobs

    return stopping_jobs


class Worker:
    """A worker process with its log."""

    def __init__(self, folder, broker, **variables):
        self.log = folder / "worker.log"
        self.process = spawn(
            [sys.executable, HERE / "stopping_app.py", str(broker.port)],
            log=self.log,
            folder=folder,
            environment={**inherited(), **variables},
        )

    def lines(self):
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def said(self, words, times=1):
        """Wait for a line to come so often, and return those lines."""

        def found():
            lines = [line for line in self.lines() if line["message"] == words]
            return lines if len(lines) >= times or self.process.poll() is not None else None

        lines = wait_until(found, timeout=SECONDS, what=words)
        assert len(lines) >= times, self.log.read_text(encoding="utf-8")
        return lines

    def end(self, *signals):
        """Signal it, and return its code and the seconds it took."""
        started = time.monotonic()
        for number in signals:
            self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        return code, time.monotonic() - started


@pytest.fixture
def worker(tmp_path, broker_settings):
    """Return a function that starts a worker that has arrived."""
    with ExitStack() as stack:

        def start(broker=broker_settings, **variables):
            worker = Worker(tmp_path, broker, **variables)
            stack.callback(stop, worker.process)
            worker.said("Worker started")
            return worker

        yield start


@pytest.fixture
def enqueue(jobs, broker_settings):
    """Return a function that enqueues tasks of so many seconds."""
    with BlockingClient(broker_settings) as client:
        yield lambda *seconds: [client.enqueue(jobs.Busy(seconds=each)).id for each in seconds]


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_processes_log_to_the_same_stream_and_die_with_their_server(worker, enqueue):
    one = worker(MANNER="process")
    enqueue(3600, 3600)
    pids = [line["process"] for line in one.said("Handler began", 2)]
    assert len(set(pids) | {one.process.pid}) == 3

    os.kill(one.process.pid, signal.SIGKILL)

    wait_until(lambda: not any(map(alive, pids)), timeout=SECONDS, what="no orphans")
