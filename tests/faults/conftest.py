"""Workers as processes of their own, a client that notes what it was promised, and the verdict."""

import asyncio
import contextlib
import importlib.util
import json
import signal
import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from duly.engine.enqueue.client import Client
from duly.engine.inspection.inspector import Inspector
from duly.errors import BrokerError, NotFoundError
from duly.task import TaskState
from duly.testing.environment import inherited
from duly.testing.history import History, What, read, verdict
from duly.testing.processes import spawn, stop
from duly.testing.waiting import until, wait_until

APP = Path(__file__).with_name("app.py")
SECONDS = 90.0
"""The longest that anything may take on a machine under load; most take less than one."""


def _app():
    spec = importlib.util.spec_from_file_location("faults_app", APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


APPLICATION = _app()
Work, Narrow = APPLICATION.Work, APPLICATION.Narrow


class Worker:
    """A worker process, its log and its place in the history."""

    def __init__(self, floor, name, *, prefix=(), environment=None, **options):
        self.name, self.history, self.measured = name, floor.history, floor.measured
        self.log = floor.folder / f"{name}.log"
        wanted = {
            "name": name,
            "history": str(floor.folder / "history"),
            "redis": floor.settings.model_dump(mode="json"),
            **options,
        }
        self.process = spawn(
            [*prefix, sys.executable, APP, json.dumps(wanted)],
            log=self.log,
            folder=floor.folder,
            environment={**inherited(), **(environment or {})},
        )

    def text(self):
        return self.log.read_text(encoding="utf-8")

    def said(self, words):
        wait_until(lambda: words in self.text(), timeout=SECONDS, what=f"{self.name}: {words}")

    def kill9(self):
        """Kill it without warning, and note that."""
        self.process.kill()
        self.process.wait()
        self.history.add(What.KILLED, self.name)
        self.measured.faults += 1

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Ask it to end; return its exit code."""
        return stop(self.process, grace_seconds=SECONDS)

    def died(self):
        """Wait until it has killed itself."""
        self.process.wait(SECONDS)
        self.measured.faults += 1
        return self.process.returncode == -signal.SIGKILL


_NOTED = set()
"""Tests of this run whose figures are in the file: those of an earlier run are replaced."""


@dataclass
class Measured:
    """Figures of one test, or of all the parameters of one."""

    runs: int = 1
    faults: int = 0
    accepted: int = 0
    lost: int = 0
    again: int = 0
    """Attempts beyond the first of a task that did not follow a failed one."""
    doubled: int = 0
    """Tasks with more than one effect."""
    recovered: list[float] = field(default_factory=list)
    """Seconds from each fault until what it had cut off went on."""
    figures: dict[str, str] = field(default_factory=dict)
    """Name of anything else → its value, with the unit."""

    def add(self, events, found):
        """Add what a verdict says of the histories of a run."""
        seen = defaultdict(Counter)
        for event in events:
            seen[event.task][event.what] += 1
        self.accepted += found.accepted
        self.lost += len(found.lost)
        self.again += sum(max(0, n[What.START] - 1 - n[What.FAILED]) for n in seen.values())
        self.doubled += sum(n[What.EFFECT] > 1 for n in seen.values())
        self.recovered += found.recoveries

    def note(self, file, test):
        """Write this to a JSON file, in which the parameters of a test are added up."""
        name = test.split("[")[0]
        rows = json.loads(file.read_text()) if file.exists() else {}
        if name in _NOTED:
            before = rows[name]
            rows[name] = {
                key: {**before[key], **value} if key == "figures" else before[key] + value
                for key, value in asdict(self).items()
            }
        else:
            rows[name] = asdict(self)
        rows[name]["recovered"] = sorted(round(each, 1) for each in rows[name]["recovered"])
        _NOTED.add(name)
        lines = (f" {json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(rows.items()))
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@dataclass(eq=False)
class Floor:
    """Where a test plays: a broker, a client, workers, and the history of them all."""

    settings: object
    folder: Path
    client: Client
    inspector: Inspector
    history: History
    stack: contextlib.ExitStack
    measured: Measured
    accepted: list = field(default_factory=list)

    def worker(self, name, **options):
        worker = Worker(self, name, **options)
        self.stack.callback(stop, worker.process, grace_seconds=0.1)
        return worker

    async def ready(self, count=1, queue="default"):
        """Wait until so many workers live."""

        async def so():
            with contextlib.suppress(NotFoundError):
                return (await self.inspector.queues.get(queue)).servers >= count

        await until(so, timeout=SECONDS, what=f"{count} workers")

    async def arrived(self, worker):
        """Wait until this very worker lives."""

        async def so():
            servers = await self.inspector.servers.list()
            return worker.process.pid in {server.pid for server in servers}

        await until(so, timeout=SECONDS, what=f"{worker.name} lives")

    async def enqueue(
        self,
        count=1,
        *,
        seconds=0.0,
        failures=0,
        held=False,
        blocking=False,
        hungry=False,
        kind=Work,
        **options,
    ):
        """Enqueue tasks one by one, noting what was accepted; return their ids."""
        ids = []
        for _ in range(count):
            task_id = f"t{len(self.accepted):05}"
            self.accepted.append(task_id)
            job = kind(
                seconds=seconds, failures=failures, held=held, blocking=blocking, hungry=hungry
            )
            try:
                await self.client.enqueue(job, task_id=task_id, **options)
            except BrokerError:
                self.history.add(What.UNCERTAIN, task_id)
            else:
                self.history.add(What.ENQUEUED, task_id)
            ids.append(task_id)
        return ids

    async def narrow(self, count=1, **options):
        """The same of a kind of which one runs at once in a queue."""
        return await self.enqueue(count, kind=Narrow, **options)

    def job(self, **fields):
        return Work(**fields)

    def storm(self):
        """Return a job that fails until `go`, with its first retry within ten minutes."""
        return APPLICATION.Storm()

    def go(self):
        """Let the tasks that are held end."""
        (self.folder / "go").touch()

    def events(self, what=None):
        found = read(self.folder / "history")
        return [event for event in found if what in {None, event.what}]

    def count(self, what):
        return len(self.events(what))

    async def happened(self, what, count=1):
        await until(
            lambda: self.count(what) >= count, timeout=SECONDS, what=f"{count} times {what}"
        )

    async def ended(self, ids):
        """Wait until each of these tasks has ended."""

        def so():
            return not set(ids) - {event.task for event in self.events(What.END)}

        await until(so, timeout=SECONDS, what=f"the ends of {ids}")

    async def idle(self, queue="default"):
        """Wait until nothing waits, runs or is due."""

        async def so():
            # A master that steps down answers as a replica for a moment, of nothing while it loads.
            try:
                report = await self.inspector.queues.get(queue)
            except (BrokerError, NotFoundError):
                return False
            return (report.waiting, report.active, report.scheduled, report.retry) == (0, 0, 0, 0)

        await until(so, timeout=SECONDS, what=f"{queue} is idle")

    async def listed(self, queue="default"):
        """Return the ids of all tasks that the queue holds."""
        found = []
        for state in TaskState:
            page = await self.inspector.tasks.list(queue, state, limit=1000)
            found += [task.id for task in page.tasks]
        return found

    async def verdict(self, *, most_effects=1, longest=None, queue="default"):
        found = verdict(
            self.events(),
            still_listed=await self.listed(queue),
            most_effects=most_effects,
            longest=timedelta(seconds=longest) if longest else None,
        )
        print(found)
        self.measured.add(self.events(), found)
        return found


@contextlib.asynccontextmanager
async def opened(settings, folder, measured):
    with contextlib.ExitStack() as stack:
        history = stack.enter_context(History(folder / "history", process="client"))
        async with (
            Client.connect(settings) as client,
            Inspector.connect(settings) as inspector,
        ):
            yield Floor(settings, folder, client, inspector, history, stack, measured)


@pytest.fixture
def measured(request):
    """What this test measures; noted where `--measure` says so."""
    measured = Measured()
    yield measured
    if file := request.config.getoption("--measure"):
        measured.note(file, request.node.nodeid)


@pytest.fixture
def rounds(request):
    """`rounds(5)`: how many faults to inject; 5, unless `--rounds` says otherwise."""
    return lambda usual: request.config.getoption("--rounds") or usual


@pytest.fixture
async def floor(own_server, tmp_path, measured):
    """A durable Valkey of this test alone, and who works on it."""
    async with opened(own_server.settings(), tmp_path, measured) as floor:
        yield floor


@pytest.fixture
def open_floor(tmp_path, measured):
    """`async with open_floor(settings)`: the same on a broker that the test starts itself."""
    return lambda settings: opened(settings, tmp_path, measured)


@pytest.fixture
async def enqueuing(floor):
    """`async with enqueuing(…)`: enqueue all the while, whatever happens to the broker."""

    @contextlib.asynccontextmanager
    async def begin(where=None, *, every=0.01, **options):
        done = asyncio.Event()

        async def go_on():
            while not done.is_set():
                await (where or floor).enqueue(**options)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), every)

        async with asyncio.TaskGroup() as group:
            group.create_task(go_on())
            yield
            done.set()

    return begin
