"""The command line without a server: an inspector and a client that answer from memory."""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from duly.cli.access import Access
from duly.cli.main import main
from duly.described_job import described_job
from duly.engine.inspection.bulk import Bulk
from duly.engine.inspection.failures import Failures
from duly.engine.inspection.tasks import Tasks
from duly.engine.storage.reports import (
    BrokerReport,
    DayReport,
    EntryReport,
    GroupReport,
    JoinReport,
    KindReport,
    LockPage,
    LockReport,
    MinuteReport,
    QueueReport,
    RunningTask,
    ServerReport,
    ServerStatus,
    TaskPage,
    TickOutcome,
    TickReport,
)
from duly.errors import IllegalTransitionError, NotFoundError, UnknownKindError
from duly.task import Attempt, AttemptOutcome, Task, TaskState

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


class FakeInspector:
    """Answers from memory, and keeps what it was told to do."""

    def __init__(self):
        self.done: list[tuple[str, ...]] = []
        self.asked: dict[str, object] = {}
        self.reports = [
            QueueReport(name="critical", concurrency=6, servers=1),
            QueueReport(
                name="default",
                waiting=12,
                active=3,
                archived=2,
                processed=90_000,
                processed_per_minute=36,
                processed_today=400,
                failed_today=3,
                oldest_waiting=timedelta(seconds=252),
                paused_since=NOON,
                servers=1,
            ),
        ]
        self.grouped = [
            GroupReport(
                kind="mention", name="ada", queue="default", size=2, oldest=NOON, due=NOON, tries=1
            ),
            GroupReport(kind="mention", name="bob", queue="default", size=1, oldest=None, due=NOON),
            GroupReport(kind="sms", name="bob", queue="default", size=1, oldest=NOON, due=NOON),
        ]
        self.held = [
            Task(
                id="0198f00d",
                queue="default",
                kind="check_pending_orders",
                state=TaskState.ARCHIVED,
                payload={"note": "\x1b[31mred[/red]"},
                attempts=3,
                max_attempts=3,
                enqueued_at=NOON,
                ended_at=NOON + timedelta(minutes=1),
                history=(
                    Attempt(
                        number=3,
                        outcome=AttemptOutcome.FAILED,
                        at=NOON + timedelta(minutes=1),
                        duration=timedelta(seconds=1.5),
                        server="host-1",
                        error="ValueError: [bold]\x1b]0;owned\x07",
                        traceback='Traceback:\n  File "x.py"\n\x1b[2Jgone',
                    ),
                ),
            ),
        ]

        self._name_nouns()

    def _name_nouns(self):
        self.queues = SimpleNamespace(
            list=self._queues, get=self._queue, minutes=self._minutes, days=self._days,
            memory=self._memory, remove=self._remove, pause=self._pause, resume=self._resume,
        )  # fmt: skip
        self.tasks = Tasks(
            SimpleNamespace(names=self._names, store=None), self.queues, self._queues
        )
        vars(self.tasks).update(
            list=self._tasks, get=self._task, find=self._find, run=self._run,
            archive=self._archive, delete=self._delete, cancel=self._cancel, rerun=self._rerun,
            edit=self._edit,
        )  # fmt: skip
        self.locks = SimpleNamespace(list=self._locks)
        self.groups = SimpleNamespace(list=self._groups, get=self._group, tasks=self._group_tasks)
        self.published = [
            KindReport(
                kind="send_invoice",
                queue="low",
                app="shop",
                description="Send an invoice.",
                policy={"queue": "low", "max_attempts": 3, "rate": None},
                schema={
                    "type": "object",
                    "properties": {
                        "order_id": {"type": "integer", "description": "of the shop"},
                        "note": {"type": "string", "default": ""},
                        "tags": {"type": "array", "items": {"type": "string"}},
                        "urgent": {"type": "boolean", "default": False},
                        "by": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
                    },
                    "required": ["order_id"],
                    "additionalProperties": False,
                },
                published_at=NOON,
                servers=("host-1:7:aa",),
            ),
            KindReport(
                kind="check_pending_orders",
                queue="default",
                schema={"type": "object", "additionalProperties": False},
                published_at=NOON,
            ),
            KindReport(kind="legacy", queue="default", published_at=NOON, rival_app="blog"),
        ]
        self.kinds = SimpleNamespace(list=self._kinds, find=self._kind, job=self._job)
        self.joins = SimpleNamespace(list=self._joins, cancel=self._cancel_join)
        self.servers = SimpleNamespace(
            list=self._servers, quiet=self._quiet, resume=self._resume_server, stop=self._stop
        )
        self.schedules = SimpleNamespace(list=self._schedules, ticks=self._ticks)
        self.brokers = SimpleNamespace(list=self._brokers)
        self.bulk, self.failures = Bulk(self.tasks, self.groups), Failures(self.tasks)

    async def _names(self):
        return [report.name for report in self.reports]

    async def _queues(self):
        return self.reports

    async def _queue(self, name):
        return _first(self.reports, lambda report: report.name == name, "queue", name)

    async def _minutes(self, name, *, count=60):
        self.asked = {"name": name, "count": count}
        return [MinuteReport(at=NOON, processed=7, failed=1)]

    async def _days(self, name, *, count=90):
        self.asked = {"name": name, "days": count}
        return [DayReport(at=NOON.replace(hour=0), processed=90, failed=4, crashed=1)]

    async def _memory(self, name):
        return 1536 if await self._queue(name) else None

    async def _remove(self, queue, *, force=False):
        self.done.append(("remove", queue, force))
        return 17

    async def _tasks(self, queue, state, *, limit=30, cursor=None, newest=True):
        self.asked = {"limit": limit, "cursor": cursor, "newest": newest}
        if cursor == "bad":
            raise ValueError("the cursor 'bad' is not one of ours")
        found = tuple(task for task in self.held if (task.queue, task.state) == (queue, state))
        if cursor is not None:
            return TaskPage(tasks=())
        return TaskPage(
            tasks=found,
            next_cursor="c2" if found else None,
            cursors=tuple(task.id for task in found),
        )

    async def _task(self, queue, task_id):
        return _first(
            self.held, lambda task: (task.queue, task.id) == (queue, task_id), "task", task_id
        )

    async def _find(self, task_id):
        return await self._task("default", task_id)

    async def _run(self, queue, task_id, *, seen=None):
        await self._do("run", queue, task_id)

    async def _archive(self, queue, task_id, *, seen=None):
        if task_id.startswith("m-"):
            self.done.append(("archive", queue, task_id))
            return
        task = await self._task(queue, task_id)
        raise IllegalTransitionError(task_id, task.state.value, "archive")

    async def _delete(self, queue, task_id, *, seen=None):
        await self._do("delete", queue, task_id)

    async def _cancel(self, queue, task_id, *, outcome="archive"):
        await self._do(f"cancel:{outcome}", queue, task_id)

    async def _rerun(self, queue, task_id, *, changes=None, to_queue=None, catalogue=None):
        await self._do("rerun", queue, task_id)
        self.asked = {"changes": changes, "to_queue": to_queue, "catalogue": catalogue}
        home = to_queue or queue
        return Task(id=f"{task_id}~1", queue=home, kind="k", state=TaskState.WAITING)

    async def _edit(self, queue, task_id, changes, *, catalogue=None):
        await self._do("edit", queue, task_id)
        self.asked = {"changes": changes, "catalogue": catalogue}
        return Task(id=task_id, queue=queue, kind="k", state=TaskState.SCHEDULED, payload=changes)

    async def _locks(self, queue):
        lock = LockReport(digest="ab" * 16, task_id="0198f00d", expires_at=NOON)
        return LockPage(locks=(lock,) if queue == "default" else (), complete=queue != "default")

    async def _groups(self, queue):
        await self._queue(queue)
        return self.grouped if queue == "default" else []

    async def _group(self, queue, kind, name):
        found = [report for report in self.grouped if (report.kind, report.name) == (kind, name)]
        return _first(found, lambda report: report.queue == queue, "group", f"{kind}:{name}")

    async def _group_tasks(self, queue, kind, name, *, limit=30, cursor=None, newest=True):
        self.asked = {"group": (queue, kind, name), "limit": limit, "newest": newest}
        group = await self._group(queue, kind, name)
        first = int(cursor or 1)
        numbers = range(first, min(group.size + 1, first + limit))
        last = numbers[-1] if numbers else group.size
        more = "c2" if limit == 1 else str(last + 1)
        return TaskPage(
            tasks=tuple(
                Task(
                    id=f"m-{number}",
                    queue=queue,
                    kind=kind,
                    state=TaskState.AGGREGATING,
                    payload={"post": number},
                    enqueued_at=NOON,
                )
                for number in numbers
            ),
            next_cursor=more if last < group.size else None,
        )

    async def _joins(self, queue):
        await self._queue(queue)
        join = JoinReport(
            id="flow.2", queue=queue, since=NOON, members=3, awaited=(0, 2), kind="report"
        )
        return [join] if queue == "default" else []

    async def _cancel_join(self, queue, join):
        _first(await self._joins(queue), lambda report: report.id == join, "join", join)
        self.done.append(("cancel_join", queue, join))

    async def _kinds(self):
        return self.published

    async def _kind(self, kind):
        for report in self.published:
            if report.kind == kind:
                return report
        raise UnknownKindError(kind, tuple(report.kind for report in self.published))

    async def _job(self, kind):
        report = await self._kind(kind)
        return described_job(report.kind, report.schema, report.policy)

    async def _pause(self, queue, *, by="", reason=""):
        self.done.append(("pause", queue))

    async def _resume(self, queue):
        self.done.append(("resume", queue))

    async def _servers(self):
        running = RunningTask(id="1", kind="k", queue="low", started_at=NOON, stuck=True)
        return [
            ServerReport(
                id="host-1:7:aa",
                host="host-1",
                pid=7,
                queues={"default": 1, "low": 3},
                concurrency=4,
                started_at=NOON,
                beat_at=NOON + timedelta(hours=5),
                status=ServerStatus.RUNNING,
                running=(running,),
            )
        ]

    async def _quiet(self, server):
        await self._tell("quiet", server)

    async def _resume_server(self, server):
        await self._tell("resume", server)

    async def _stop(self, server):
        await self._tell("stop", server)

    async def _tell(self, word, server):
        if server != "host-1:7:aa":
            raise NotFoundError("server", server)
        self.done.append((word, server))

    async def _brokers(self):
        return [
            BrokerReport(
                address="10.0.0.1:6379",
                version="Valkey 9.1.0",
                memory_bytes=3 * 2**20,
                memory_limit_bytes=2**30,
                clients=12,
                queues=("default",),
                slots={"default": 9189},
            )
        ]

    async def _schedules(self):
        tick = _tick(TickOutcome.SKIPPED)
        return [
            EntryReport(
                id="check-pending-orders",
                kind="check_pending_orders",
                queue="default",
                interval=timedelta(seconds=5),
                description="every 5 seconds",
                overlap="skip",
                next_slot=NOON,
                next_slots=tuple(NOON + timedelta(seconds=5 * step) for step in range(5)),
                last=tick,
                enqueued=1000,
                skipped=2,
            )
        ]

    async def _ticks(self, entry, *, limit=50):
        if entry != "check-pending-orders":
            raise NotFoundError("entry", entry)
        return [_tick(TickOutcome.ENQUEUED)][:limit]

    async def _do(self, verb, queue, task_id):
        if not task_id.startswith("m-"):
            await self._task(queue, task_id)
        self.done.append((verb, queue, task_id))


class FakeClient:
    """Keeps what was enqueued."""

    def __init__(self):
        self.enqueued = []

    async def enqueue(self, job, **options):
        self.enqueued.append((job, options))
        return Task(id="new-1", queue="default", kind=job.kind, state=TaskState.WAITING)


@dataclass
class Outcome:
    exit_code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs `duly …` in this process."""

    capsys: pytest.CaptureFixture[str]
    inspector: FakeInspector = field(default_factory=FakeInspector)
    client: FakeClient = field(default_factory=FakeClient)
    connected: list = field(default_factory=list)

    def opener(self):
        """What opens the inspector."""
        return self._open(self.inspector)

    def __call__(self, *words: str) -> Outcome:
        access = Access(inspector=self.opener(), client=self._open(self.client))
        with pytest.raises(SystemExit) as exit_info:
            main(words, access=access)
        return Outcome(int(exit_info.value.code or 0), *self.capsys.readouterr())

    def _open(self, fake):
        @asynccontextmanager
        async def connect(settings, *_, **__):
            self.connected.append(settings)
            yield fake

        return connect


@pytest.fixture
def duly(capsys, tmp_path, monkeypatch):
    """`duly(*words)` runs the command line in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


def _tick(outcome):
    return TickReport(
        entry="check-pending-orders",
        slot=NOON,
        outcome=outcome,
        task_id="t-1",
        at=NOON + timedelta(milliseconds=3),
    )


def _first(things, fits, noun, name):
    for thing in things:
        if fits(thing):
            return thing
    raise NotFoundError(noun, name)
