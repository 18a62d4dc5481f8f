"""A worker as a process: stopped by the kernel, by signals and by commands."""

import contextlib
import signal
import sys
from pathlib import Path

import pytest

from duly.engine.storage.reports import ServerStatus
from duly.job import Job
from duly.testing.environment import inherited
from duly.testing.processes import spawn, stop

PROGRAM = Path(__file__).parent / "process.py"


class Held(Job, kind="held"):
    number: int


class Worker:
    """A process, its log and what its tasks wrote."""

    def __init__(self, folder, port, lease_seconds):
        self.folder, self.log = folder, folder / f"log-{len(list(folder.iterdir()))}"
        self.process = spawn(
            [sys.executable, PROGRAM, str(port), folder, str(lease_seconds)],
            log=self.log,
            folder=folder,
            environment=inherited(),
        )

    def send(self, number):
        self.process.send_signal(number)

    def lines(self):
        file = self.folder / str(self.process.pid)
        return file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []

    def said(self):
        return self.log.read_text(encoding="utf-8")


@pytest.fixture
def start(tmp_path, broker_settings):
    with contextlib.ExitStack() as stack:

        def begin(lease_seconds=10):
            worker = Worker(tmp_path, broker_settings.port, lease_seconds)
            stack.callback(stop, worker.process, grace_seconds=5)
            return worker

        yield begin


async def statuses(inspector):
    return {report.pid: report.status for report in await inspector.servers.list()}


@pytest.mark.fault("lease lost")
async def test_a_worker_that_the_kernel_stopped_has_its_outcome_refused(
    client, inspector, start, until, tmp_path
):
    first = start(lease_seconds=4)
    await client.enqueue(Held(number=1))
    await until(lambda: "begin 1" in first.lines(), what="the first attempt")
    first.send(signal.SIGSTOP)

    second = start()
    await until(lambda: "begin 1" in second.lines(), what="the attempt of another worker")
    (tmp_path / "go").touch()
    await until(lambda: "end 1" in second.lines(), what="its end")
    await until(lambda: report(inspector, 1), what="its outcome")

    first.send(signal.SIGCONT)
    await until(
        lambda: "Lease lost" in first.said() or "Outcomes refused" in first.said(),
        what="it learns that the task is not its own any more",
    )
    await client.enqueue_many([Held(number=number) for number in range(2, 22)])
    counted = await until(lambda: report(inspector, 21), what="the outcomes of 20 more tasks")

    assert (counted.processed, counted.crashed, counted.failed) == (21, 1, 0)
    assert (counted.waiting, counted.active, counted.retry, counted.archived) == (0, 0, 0, 0)


async def report(inspector, processed):
    found = await inspector.queues.get("default")
    return found if found.processed >= processed and not found.active else None


async def test_signals_make_it_quiet_and_wake_it(client, inspector, start, until, tmp_path):
    (tmp_path / "go").touch()
    worker = start()
    await client.enqueue(Held(number=1))
    await until(lambda: "end 1" in worker.lines())

    worker.send(signal.SIGTSTP)
    await until(lambda: status_is(inspector, worker, ServerStatus.QUIET), what="quiet")
    await client.enqueue(Held(number=2))
    worker.send(signal.SIGCONT)

    await until(lambda: "end 2" in worker.lines())
    await until(lambda: status_is(inspector, worker, ServerStatus.RUNNING), what="running")
    assert "begin 2" not in worker.said().partition("Resumed")[0]


async def status_is(inspector, worker, status):
    return (await statuses(inspector)).get(worker.process.pid) is status


async def test_told_to_stop_it_ends_with_0(  # noqa: PLR0917
    client, inspector, start, until, tmp_path, stopwatch
):
    worker = start()
    await client.enqueue(Held(number=1))
    await until(lambda: "begin 1" in worker.lines())
    (server,) = await inspector.servers.list()

    await inspector.servers.stop(server.id)
    since = stopwatch()
    await until(lambda: "Stopping by command" in worker.said())
    assert stopwatch() - since < 2
    (tmp_path / "go").touch()

    assert worker.process.wait(60) == 0
    assert "end 1" in worker.lines()
    assert (await inspector.queues.get("default")).processed == 1
