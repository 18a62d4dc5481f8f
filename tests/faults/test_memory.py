"""Handlers take memory until the kernel ends their process, or refuses: all else goes on."""

import itertools
import os
import re
import sys
from pathlib import Path

import pytest

from duly.errors import NotFoundError
from duly.job import Job, Policy
from duly.task import TaskState
from duly.testing.environment import inherited
from duly.testing.history import What
from duly.testing.processes import spawn, stop
from duly.testing.waiting import until, wait_until

pytestmark = pytest.mark.timeout(400)
SECONDS = 90.0
LEASE = 2.0
CELL_BYTES = 320 * 2**20
"""Room for a worker and two processes of handlers."""
ADDRESSES = 1_500 * 2**20
"""What a process may map, where nobody is killed for taking too much."""
GROUPS = Path("/sys/fs/cgroup")
NUMBERS = itertools.count()


class Hungry(Job, kind="hungry", policy=Policy(max_attempts=1, queue="default")):
    """Takes memory until it gets none: see memory_app.py."""


class Modest(Job, kind="modest", policy=Policy(queue="default")):
    """Runs in a process, too."""


class Cell:
    """A control group whose processes have so much memory together, as a container has."""

    def __init__(self):
        first = (GROUPS / "memory").exists()
        self.group = GROUPS / ("memory" if first else "") / f"duly-{os.getpid()}-{next(NUMBERS)}"
        self.group.mkdir()
        limit = "memory.limit_in_bytes" if first else "memory.max"
        self.events = self.group / ("memory.oom_control" if first else "memory.events")
        (self.group / limit).write_text(str(CELL_BYTES))

    @property
    def prefix(self):
        """The words before a command that is to run in here."""
        return "sh", "-c", f'echo $$ > {self.group}/cgroup.procs; exec "$@"', "sh"

    def killed(self):
        """Return how many processes the kernel has killed."""
        return int(re.search(r"^oom_kill (\d+)", self.events.read_text(), re.MULTILINE)[1])

    def close(self):
        wait_until(lambda: not (self.group / "cgroup.procs").read_text(), what="the cell is empty")
        self.group.rmdir()


@pytest.fixture
def cell():
    try:
        cell = Cell()
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield cell
    cell.close()


def memory_worker(floor, prefix):
    """Start a worker that runs handlers in processes."""
    here = str(Path(__file__).parent)
    process = spawn(
        [
            *prefix,
            sys.executable,
            "-m",
            "duly_worker",
            "--app",
            "memory_app:app",
            "--queue",
            "default",
        ],
        log=floor.folder / "worker.log",
        folder=floor.folder,
        environment={
            **inherited(),
            "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
            "DULY_REDIS__PORT": str(floor.settings.port),
            "DULY_METRICS__ENABLED": "false",
        },
    )
    floor.stack.callback(stop, process, grace_seconds=0.1)
    return process


async def starved(floor, process, error):
    """Run hungry and modest tasks; the hungry one fails alone."""
    await floor.ready()
    hungry = await floor.client.enqueue(Hungry(), task_id="hungry")
    for number in range(5):
        await floor.client.enqueue(Modest(), task_id=f"modest{number}")

    await floor.idle()
    task = await floor.inspector.tasks.get("default", hungry.id)
    assert task.state is TaskState.ARCHIVED
    (attempt,) = task.history
    assert re.search(error, attempt.error), attempt.error
    report = await floor.inspector.queues.get("default")
    assert (report.processed, report.failed, report.crashed) == (6, 1, 0)
    assert process.poll() is None


@pytest.mark.fault("memory of a handler")
async def test_the_kernel_kills_the_process_of_a_handler_and_the_worker_goes_on(cell, floor):
    await starved(
        floor,
        memory_worker(floor, cell.prefix),
        r"killed by SIGKILL \(out of memory\? raise the container's limit",
    )
    assert cell.killed() == 1


@pytest.mark.fault("memory of a handler")
async def test_a_process_that_gets_no_memory_fails_its_attempt(floor):
    limited = ("prlimit", f"--as={ADDRESSES}")
    await starved(floor, memory_worker(floor, limited), r"^MemoryError")


@pytest.mark.fault("memory of a handler")
async def test_a_handler_in_the_worker_that_gets_no_memory_fails_its_attempt(floor):
    worker = floor.worker("worker", prefix=("prlimit", f"--as={ADDRESSES}"), concurrency=1)
    (hungry,) = await floor.enqueue(hungry=True, max_attempts=1)
    await floor.enqueue(5)

    await floor.idle()
    (attempt,) = (await floor.inspector.tasks.get("default", hungry)).history
    assert attempt.error.startswith("MemoryError")
    found = await floor.verdict()
    assert found.good, found
    assert found.finished == 5
    assert worker.stop() == 0


@pytest.mark.fault("memory of a handler")
@pytest.mark.slow
async def test_a_task_for_which_the_kernel_kills_three_workers_is_quarantined(cell, floor):
    options = {"prefix": cell.prefix, "lease_seconds": LEASE, "concurrency": 1}
    (hungry,) = await floor.enqueue(hungry=True)
    for number in range(3):
        worker = floor.worker(f"worker{number}", **options)
        assert worker.died()
        floor.history.add(What.KILLED, worker.name)
    assert cell.killed() == 3

    last = floor.worker("last", **options)
    await floor.enqueue(5)

    async def quarantined():
        try:
            task = await floor.inspector.tasks.get("default", hungry)
        except NotFoundError:
            return None
        return task if task.state is TaskState.QUARANTINED else None

    task = await until(quarantined, timeout=SECONDS)
    await floor.idle()
    assert (task.attempts, task.crashes) == (0, 3)
    assert {attempt.error for attempt in task.history} == {"its server died"}
    last.said("Task quarantined")
    assert f"task_id={hungry} kind=work" in last.text()
    assert "give it more memory, or run it in a process" in last.text()
    found = await floor.verdict()
    assert found.good, found
    assert (found.finished, last.process.poll()) == (5, None)
