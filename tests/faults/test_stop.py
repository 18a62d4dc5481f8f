"""Every way to stop a worker, on real processes: what runs, what waits, and what is left."""

import asyncio
import json
import os
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from duly.engine.enqueue.blocking_client import BlockingClient
from duly.engine.inspection.inspector import Inspector
from duly.task import TaskState
from duly.testing.environment import inherited
from duly.testing.processes import spawn, stop
from duly.testing.waiting import wait_until

HERE = Path(__file__).parent
SECONDS = 90.0
MANNERS = ("coroutine", "thread", "process")
WAITS_UNCHANGED = (TaskState.WAITING, 0, 0)


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import stopping_jobs

    return stopping_jobs


class Worker:
    """A worker process with its log."""

    def __init__(self, folder, broker, name="one", **variables):
        self.log = folder / f"{name}.log"
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
        """Signal it, and return its code."""
        for number in signals:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)


@pytest.fixture
def worker(tmp_path, broker_settings):
    """Return a function that starts a worker that has arrived."""
    with ExitStack() as stack:

        def start(broker=broker_settings, name="one", **variables):
            worker = Worker(tmp_path, broker, name, **variables)
            stack.callback(stop, worker.process)
            worker.said("Worker started")
            return worker

        yield start


@pytest.fixture
def enqueue(jobs, broker_settings):
    """Return a function that enqueues tasks of so many seconds."""
    with BlockingClient(broker_settings) as client:

        def enqueue(*seconds, until=""):
            return [client.enqueue(jobs.Busy(seconds=each, until=until)).id for each in seconds]

        yield enqueue


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.fault("worker killed")
def test_processes_log_to_the_same_stream_and_die_with_their_server(worker, enqueue):
    one = worker(MANNER="process")
    enqueue(3600, 3600)
    pids = [line["process"] for line in one.said("Handler began", 2)]
    assert len(set(pids) | {one.process.pid}) == 3

    os.kill(one.process.pid, signal.SIGKILL)

    wait_until(lambda: not any(map(alive, pids)), timeout=SECONDS, what="no orphans")


def inspect(broker, ask):
    """Ask the inspector, from a test without a loop."""

    async def once():
        async with Inspector.connect(broker) as inspector:
            return await ask(inspector)

    return asyncio.run(once())


async def found(task_id, inspector):
    return await inspector.tasks.get("default", task_id)


def counts(broker):
    report = inspect(broker, lambda inspector: inspector.queues.get("default"))
    return report.waiting, report.active


def all_wait_unchanged(broker, ids):
    """Tell that each task waits, with neither an attempt nor a crash."""

    tasks = [inspect(broker, partial(found, task_id)) for task_id in ids]
    return all((task.state, task.attempts, task.crashes) == WAITS_UNCHANGED for task in tasks)


@pytest.mark.fault("stop")
@pytest.mark.parametrize(
    "signals",
    [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM] * 5],
    ids=["term", "int", "five"],
)
def test_an_idle_worker_stops_at_once(worker, signals, stopwatch):
    one = worker()

    begun = stopwatch()
    assert one.end(*signals) == 0

    assert stopwatch() - begun < 5
    one.said("Worker stopped")


@pytest.mark.fault("stop")
@pytest.mark.parametrize("manner", MANNERS)
def test_what_runs_may_end_and_what_waits_is_requeued_within_a_second(  # noqa: PLR0917
    worker, enqueue, broker_settings, manner, stopwatch, tmp_path
):
    one = worker(MANNER=manner, DRAIN="90")
    running = enqueue(3600, 3600, until=str(tmp_path / "go"))
    one.said("Handler began", 2)
    waiting = enqueue(3600, 3600, 3600)

    one.process.send_signal(signal.SIGTERM)
    one.said("Waiting for running tasks")
    since = stopwatch()
    wait_until(lambda: counts(broker_settings) == (3, 2), timeout=SECONDS, what="requeued")
    assert stopwatch() - since < 1
    (tmp_path / "go").touch()

    assert one.end(*[signal.SIGTERM] * 3) == 0
    assert {line["task_id"] for line in one.said("Task succeeded", 2)} == set(running)
    assert counts(broker_settings) == (3, 0)
    assert all_wait_unchanged(broker_settings, waiting)


@pytest.mark.fault("stop")
@pytest.mark.parametrize("manner", MANNERS)
def test_what_outlasts_the_drain_is_requeued_with_its_attempts(
    worker, enqueue, broker_settings, manner, stopwatch
):
    one = worker(MANNER=manner, DRAIN="0.5")
    ids = enqueue(3600, 3600, 3600)
    one.said("Handler began", 2)

    begun = stopwatch()
    assert one.end(signal.SIGTERM) == 0

    assert stopwatch() - begun < 0.5 + 5
    assert all_wait_unchanged(broker_settings, ids)


@pytest.mark.fault("stop")
def test_without_a_broker_it_stops_too_and_loses_nothing(worker, own_server, jobs, stopwatch):
    broker = own_server.settings()
    one = worker(broker, DRAIN="0.5", LEASE="3")
    with BlockingClient(broker) as client:
        ids = [client.enqueue(jobs.Busy(seconds=3600)).id for _ in range(3)]
    one.said("Handler began", 2)

    own_server.kill9()
    one.said("Broker unreachable, retrying")
    begun = stopwatch()
    assert one.end(signal.SIGTERM, signal.SIGTERM) == 0
    assert stopwatch() - begun < 15
    own_server.restart()

    # The lease runs out, and whoever looks after the queue makes them wait again.
    began = {line["task_id"] for line in worker(broker, "two", LEASE="3").said("Handler began", 2)}
    assert began <= set(ids)
    tasks = [inspect(broker, partial(found, task_id)) for task_id in ids]
    assert {task.attempts for task in tasks} == {0}, "it was a crash, no attempt"


@pytest.mark.fault("stop")
def test_a_worker_that_never_met_its_broker_stops_at_once(tmp_path, own_server, stopwatch):
    broker = own_server.settings()
    own_server.kill9()
    one = Worker(tmp_path, broker)
    try:
        one.said("Broker unreachable, retrying")
        begun = stopwatch()
        assert one.end(signal.SIGTERM) == 0
        assert stopwatch() - begun < 5
    finally:
        stop(one.process)
