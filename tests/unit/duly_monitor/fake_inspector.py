"""An inspector over plain values: what the monitor is tested and looked at with."""

import importlib.util
import math
import sys
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from duly.clock import to_unix_ms
from duly.described_job import described_job
from duly.engine.inspection.bulk import Bulk
from duly.engine.inspection.failures import Failures
from duly.engine.inspection.history import Course
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.node_info import node_report
from duly.engine.inspection.overview import Snapshot
from duly.engine.inspection.removal import QueueInUseError
from duly.engine.inspection.search import Place
from duly.engine.inspection.tasks import Tasks
from duly.engine.storage.reports import (
    AuditPage,
    BrokerReport,
    DayReport,
    EntryReport,
    GroupReport,
    KindReport,
    LockPage,
    MinuteReport,
    QueueReport,
    RunningTask,
    ServerReport,
    ServerStatus,
    TaskPage,
    TickOutcome,
    TickReport,
)
from duly.errors import BrokerDownError, IllegalTransitionError, NotFoundError, UnknownKindError
from duly.payload import form_of
from duly.task import Progress, Task, TaskState
from duly_monitor.series import total

# Tests are no package, and are loaded by their files: this one loads what it needs likewise.
_spec = importlib.util.spec_from_file_location(
    "sample_tasks", Path(__file__).with_name("sample_tasks.py")
)
samples = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(samples)

NOW, FrozenClock = samples.NOW, samples.FrozenClock
RUNNABLE = {
    TaskState.SCHEDULED,
    TaskState.RETRY,
    TaskState.AGGREGATING,
    TaskState.ARCHIVED,
    TaskState.QUARANTINED,
}
ARCHIVABLE = {TaskState.WAITING, TaskState.SCHEDULED, TaskState.RETRY, TaskState.AGGREGATING}


KIND = KindReport(
    kind="send_invoice",
    queue="low",
    app="shop",
    description="Send the invoice of one order.",
    policy={"queue": "low", "max_attempts": 3},
    schema={
        "type": "object",
        "properties": {
            "order_id": {"type": "integer"}, "total": {"type": "string", "default": "0.00"},
        },
        "required": ["order_id"],
        "additionalProperties": False,
    },
    published_at=NOW,
    servers=("worker-1:1:aa",),
)  # fmt: skip


class FakeClient:
    """Keeps what was enqueued; raises what `refuses` is."""

    def __init__(self):
        self.enqueued = []
        self.refuses = None

    async def enqueue(self, job, *, queue, **options):
        if self.refuses is not None:
            raise self.refuses
        self.enqueued.append((job, queue, options))
        payload = form_of(type(job)).encode(job)
        return Task(
            id=options["task_id"] or "new", queue=queue, kind=job.kind,
            state=TaskState.WAITING, payload=payload,
        )  # fmt: skip


def each(function, *names):
    return {name: partial(function, name) for name in names}


class FakeInspector(Inspector):
    """Holds tasks in a list; `down` makes it behave as if the broker were down."""

    def __init__(self, now=NOW):
        self.at = now
        self.down = False
        self.calls = 0
        self.paused = {"low": now - timedelta(minutes=26)}
        self.held = samples.sample_tasks(now)
        self.cancelled, self.stops, self.pauses = [], set(), {}
        self.queues = SimpleNamespace(
            list=self._queues, get=self._queue, names=self._names, minutes=self._minutes,
            pause=self._pause, resume=self._resume, remove=self._remove,
        )  # fmt: skip
        self.tasks = SimpleNamespace(
            list=self._tasks, get=self._task, find=self._find,
            run=self._run, archive=self._archive, delete=self._delete, cancel=self._cancel,
            message=self._message, rerun=self._rerun, edit=self._edit, search=self._search,
            scan=self._scan, walk=self._walk, sizes=self._sizes, count=self._count_all,
            identified=self._identified,
        )  # fmt: skip
        self.failures = Failures(self.tasks, clock=FrozenClock())
        self.bulk = Bulk(self.tasks, None)
        self.runs = {}
        self.bulk_runs = SimpleNamespace(
            begin=self._save_run, save=self._save_run, get=self._get_run, list=self._list_runs,
            stop=self._stop_run, stopped=self._is_stopped, now_ms=lambda: to_unix_ms(self.at),
        )  # fmt: skip
        self.servers = SimpleNamespace(
            list=self._servers, **each(self._signal, "quiet", "resume", "stop")
        )
        self.schedules = SimpleNamespace(
            list=self._schedules, ticks=self._ticks,
            **each(self._note, "trigger", "pause", "resume"),
        )  # fmt: skip
        self.brokers = SimpleNamespace(list=self._brokers, nodes=self._nodes)
        self.overview = SimpleNamespace(recent=self._overview, forget=lambda: None)
        self.said = dict(samples.INFO)
        """What the broker's node says of itself."""
        self.noted = []
        """What was done to servers and schedules: (operation, id)."""

        self.queues.days = self._days
        self.history = SimpleNamespace(
            hours=self._past_hours, days=self._past_days, forget=lambda name: None
        )
        self.waiting_joins = samples.sample_joins(now)
        self.groups = SimpleNamespace(list=self._groups, get=self._group, tasks=self._group_tasks)
        self.joins = SimpleNamespace(list=self._joins, cancel=self._cancel_join)
        self.locks = SimpleNamespace(list=self._locks)
        self.kinds = SimpleNamespace(
            list=self._kinds, find=self._kind, job=self._job, policies=self._policies
        )
        self.audited = []
        self.audit = SimpleNamespace(append=self._append, list=self._audit)

    async def _signal(self, operation, server):
        if all(each.id != server for each in await self._servers()):
            raise NotFoundError("server", server)
        self.noted.append((operation, server))

    async def _days(self, name, *, count=90):
        await self._queue(name)
        today = self.at.replace(hour=0, minute=0, second=0, microsecond=0)
        days = [today - timedelta(days=back) for back in reversed(range(count))]
        return [
            DayReport(at=day, processed=1_000 + index * 10, failed=index % 7, crashed=0)
            for index, day in enumerate(days)
        ]

    async def _groups(self, queue):
        await self._queue(queue)
        waiting = [task for task in self.held if task.state is TaskState.AGGREGATING]
        found = {}
        for task in waiting:
            if task.queue == queue and isinstance(task.labels.get("group"), list):
                found.setdefault(str(task.labels["group"][0]), []).append(task)
        return [
            GroupReport(
                kind=group.partition(":")[0], name=group.partition(":")[2], queue=queue,
                size=len(tasks), oldest=min(task.enqueued_at for task in tasks),
                due=self.at + timedelta(seconds=40), tries=2,
            )
            for group, tasks in found.items()
        ]  # fmt: skip

    async def _group(self, queue, kind, name):
        for report in await self._groups(queue):
            if (report.kind, report.name) == (kind, name):
                return report
        raise NotFoundError("group", f"{kind}:{name}", f"queue {queue}")

    async def _group_tasks(self, queue, kind, name, *, limit=30, cursor=None, newest=True):
        await self._queue(queue)
        found = [
            task
            for task in self.held
            if task.queue == queue and (task.labels.get("group") or [""])[0] == f"{kind}:{name}"
        ]
        start = 0 if cursor is None else int(cursor.partition(":")[0])
        found = found if newest else found[::-1]
        more = f"{start + limit:013}:x" if len(found) > start + limit else None
        return TaskPage(tasks=tuple(found[start : start + limit]), next_cursor=more)

    async def _joins(self, queue):
        await self._queue(queue)
        return [join for join in self.waiting_joins if join.queue == queue]

    async def _cancel_join(self, queue, join):
        await self._queue(queue)
        left = [each for each in self.waiting_joins if (each.queue, each.id) != (queue, join)]
        if left == self.waiting_joins:
            raise NotFoundError("join", join, f"queue {queue}")
        self.waiting_joins = left

    async def _locks(self, queue):
        await self._queue(queue)
        return LockPage(locks=samples.sample_locks(self.at) if queue == "default" else ())

    async def _append(self, record, *, most, age):
        if self.down:
            raise BrokerDownError("127.0.0.1:6379", "connection refused")
        self.audited.append(replace(record, id=f"{len(self.audited) + 1}-0", at=self.at))

    async def _audit(self, *, limit=50, cursor=None):
        self._answer()
        if cursor is not None and not cursor.endswith("-0"):
            raise ValueError(cursor)
        before = int(cursor[:-2]) - 1 if cursor else len(self.audited)
        found = self.audited[max(before - limit, 0) : before][::-1]
        more = found[-1].id if len(found) == limit and found[-1].id != "1-0" else None
        return AuditPage(records=tuple(found), next_cursor=more)

    async def _remove(self, name, *, force=False):
        report = await self._queue(name)
        if name != "low":
            raise QueueInUseError(name, "is served by live workers: stop them first")
        return report.held

    async def _cancel(self, queue, task_id, *, outcome="archive"):
        task = await self._task(queue, task_id)
        if task.state is not TaskState.ACTIVE:
            raise IllegalTransitionError(task_id, task.state.value, "cancel")
        self.cancelled.append((task_id, outcome))

    async def _message(self, queue, task_id):
        await self._task(queue, task_id)
        return f'\x00{{"{samples.XSS}'.encode() + b"\xff" + bytes(5_000)

    async def _rerun(self, queue, task_id, *, changes=None, to_queue=None, catalogue=None):
        old = await self._task(queue, task_id)
        new = Task(
            id=f"{task_id}~1", queue=to_queue or queue, kind=old.kind, state=TaskState.WAITING,
            payload={**old.payload, **(changes or {})}, labels={"origin": task_id},
        )  # fmt: skip
        self.held.append(new)
        return new

    async def _edit(self, queue, task_id, changes, *, catalogue=None):
        task = await self._task(queue, task_id)
        task.payload.update(changes)
        return task

    async def _search(self, query, **options):
        return await Tasks.search(self.tasks, query, **options)

    async def _identified(self, query):
        walk = self._walk(query.queues, query.states, unreadable={})
        return tuple([task async for _, task in walk if query.matches(task)])

    async def _sizes(self, queues, states):
        self._answer()
        names = queues or ("critical", "default", "low")
        for name in names:
            await self._queue(name)
        return {(name, state): self._count(name, state) for name in names for state in states}

    async def _count_all(self, queues, states):
        return sum((await self._sizes(queues, states)).values())

    async def _scan(self, queues, states, *, unreadable, most=None):
        async for _, task in self._walk(queues, states, unreadable=unreadable):
            yield task

    async def _walk(self, queues, states, *, unreadable, most=None, begin=None):
        self._answer()
        passed = begin is None
        for state in states:
            for task in [*self.held]:
                if task.state is state and (not queues or task.queue in queues):
                    place = Place(state, task.queue, f"7:{task.id}")
                    if passed:
                        yield place, task
                    passed = passed or place == begin

    async def _save_run(self, report):
        self._answer()
        self.runs[report.id] = report

    async def _get_run(self, run_id):
        self._answer()
        if run_id not in self.runs:
            raise NotFoundError("bulk operation", run_id)
        return self.runs[run_id]

    async def _list_runs(self):
        self._answer()
        return [*self.runs.values()]

    async def _stop_run(self, run_id):
        self.stops.add(run_id)

    async def _is_stopped(self, run_id):
        return run_id in self.stops

    async def _kinds(self):
        self._answer()
        return [KIND]

    async def _policies(self, kinds):
        self._answer()
        return {KIND.kind: KIND.policy} if KIND.kind in kinds else {}

    async def _kind(self, kind):
        self._answer()
        if kind != KIND.kind:
            raise UnknownKindError(kind, (KIND.kind,))
        return KIND

    async def _job(self, kind):
        found = await self._kind(kind)
        return described_job(found.kind, found.schema, found.policy)

    def _answer(self):
        self.calls += 1
        if self.down:
            raise BrokerDownError("127.0.0.1:6379", "connection refused")

    def _count(self, queue, state):
        return sum(task.queue == queue and task.state is state for task in self.held)

    async def ping(self):
        self._answer()

    async def _queues(self):
        self._answer()
        return [self._report(name) for name in ("critical", "default", "low")]

    async def _overview(self):
        before = self.calls
        queues = await self.queues.list()
        minutes = {
            each.name: () if each.error else await self.queues.minutes(each.name, count=61)
            for each in queues
        }
        found = Snapshot(
            at=self.at, queues=queues, minutes=minutes, servers=await self.servers.list(),
            entries=await self.schedules.list(), brokers=await self.brokers.list(),
        )  # fmt: skip
        self.calls = before + 1
        return found

    async def _names(self):
        self._answer()
        return ["critical", "default", "low"]

    async def _past_hours(self, queues, *, hours, step, minutes=None):
        per, now = step // timedelta(minutes=1), self.at.replace(second=0, microsecond=0)
        ended = now - timedelta(minutes=(now.hour * 60 + now.minute) % per)
        found = {}
        for name in queues:
            read = await self.queues.minutes(name, count=hours * 60 + per)
            found[name] = [
                replace(each, at=each.at - (each.at - ended) % step)
                for each in read
                if ended - timedelta(hours=hours) <= each.at < ended
            ]
        return _course(found)

    async def _past_days(self, queues, *, days=90, reports=None):
        return _course({name: await self.queues.days(name, count=days) for name in queues})

    async def _queue(self, name):
        self._answer()
        if name not in ("critical", "default", "low"):
            raise NotFoundError("queue", name)
        return self._report(name)

    def _report(self, name):
        extra = {
            "critical": {"processed": 48_211, "processed_per_minute": 312, "servers": 1},
            "default": {
                "processed": 1_204_332,
                "failed": 1_918,
                "crashed": 3,
                "processed_per_minute": 1_284,
                "failed_per_minute": 6,
                "servers": 2,
                "oldest_waiting": timedelta(minutes=4, seconds=12),
            },
            "low": {"processed": 9_120, "failed": 12, "servers": 1},
        }[name]
        concurrency = {"critical": 6, "default": 6, "low": 1}[name]
        counts = {state.value: self._count(name, state) for state in TaskState}
        counts["waiting"] += {"default": 1_238}.get(name, 0)
        return QueueReport(
            name=name,
            concurrency=concurrency,
            paused_since=self.paused.get(name),
            **self.pauses.get(name, {}),
            **counts,
            **extra,
        )

    async def _minutes(self, name, *, count=60):
        self._answer()
        start = self.at.replace(second=0, microsecond=0) - timedelta(minutes=count - 1)
        base = {"critical": 300, "default": 1_250, "low": 14}.get(name)
        if base is None:
            raise NotFoundError("queue", name)
        return [_minute(start + timedelta(minutes=index), base) for index in range(count)]

    async def _tasks(self, queue, state, *, limit=30, cursor=None, newest=True):
        self._answer()
        if cursor is not None and not cursor.removesuffix("-0").isdigit():
            raise ValueError(cursor)
        # A cursor is the place in the order of the newest, of a task that has been seen.
        found = [
            *enumerate(task for task in self.held if (task.queue, task.state) == (queue, state))
        ]
        if not newest:
            found.reverse()
        if cursor is not None:
            places = [place for place, _ in found]
            place = int(cursor.removesuffix("-0"))
            if place not in places:
                raise ValueError(cursor)
            found = found[places.index(place) + 1 :]
        part = found[:limit]
        return TaskPage(
            tasks=tuple(task for _, task in part),
            next_cursor=f"{part[-1][0]}-0" if len(found) > limit else None,
            previous_cursor=f"{part[0][0]}-0" if part else None,
        )

    async def _task(self, queue, task_id):
        self._answer()
        for task in self.held:
            if task.queue == queue and task.id == task_id:
                return task
        raise NotFoundError("task", task_id, f"queue {queue}")

    async def _find(self, task_id):
        self._answer()
        for task in self.held:
            if task.id == task_id:
                return task
        raise NotFoundError("task", task_id)

    async def _run(self, queue, task_id, *, seen=None):
        await self._move(queue, task_id, "run", RUNNABLE, TaskState.WAITING, seen)

    async def _archive(self, queue, task_id, *, seen=None):
        await self._move(queue, task_id, "archive", ARCHIVABLE, TaskState.ARCHIVED, seen)

    async def _delete(self, queue, task_id, *, seen=None):
        await self._move(queue, task_id, "delete", set(TaskState) - {TaskState.ACTIVE}, None, seen)

    async def _move(self, queue, task_id, operation, sources, target, seen):  # noqa: PLR0917
        task = await self._task(queue, task_id)
        if task.state not in sources or (seen is not None and task.state is not seen.state):
            raise IllegalTransitionError(task_id, task.state.value, operation)
        self.held.remove(task)
        if target is not None:
            self.held.append(Task(id=task_id, queue=queue, kind=task.kind, state=target))

    async def _pause(self, queue, *, by="", reason=""):
        self._answer()
        self.paused.setdefault(queue, self.at)
        self.pauses[queue] = {"paused_by": by, "pause_reason": reason}

    async def _resume(self, queue):
        self._answer()
        self.paused.pop(queue, None)

    async def _servers(self):
        self._answer()
        started = self.at - timedelta(hours=26)
        running = tuple(
            RunningTask(
                id=f"9f2c41d8e0b7{index}",
                kind=kind,
                queue="default",
                started_at=self.at - timedelta(seconds=3 + 91 * index),
                stuck=index == 1,
                progress=Progress(0.4, "rows 400 of 1000") if index == 0 else None,
            )
            for index, kind in enumerate(("send_invoice", "check_pending_orders"))
        )
        return [
            _server("worker-default-6d9f-x7k2p", started, self.at, {"default": 1}, 3, running),
            _server("worker-mixed-58b7-q1zzv", started, self.at, {"critical": 3, "default": 1}, 6),
            ServerReport(
                id="worker-low-7c44-m0aaa:1:8d1e", host="worker-low-7c44-m0aaa", pid=1,
                queues={"low": 1}, concurrency=1, started_at=started, version="0.1.0",
                beat_at=self.at - timedelta(seconds=44), status=ServerStatus.LOST,
            ),
        ]  # fmt: skip

    async def _note(self, operation, name):
        await self._ticks(name)
        self.noted.append((operation, name))
        return f"{name}@now"

    async def _brokers(self):
        self._answer()
        return [
            BrokerReport(
                address="127.0.0.1:6379", version="Valkey 9.1", memory_bytes=50 << 20,
                memory_limit_bytes=100 << 20, clients=12, queues=("default",), slots={},
            )
        ]  # fmt: skip

    async def _nodes(self):
        (report,) = await self._brokers()
        return [node_report(report, self.said, timedelta(milliseconds=0.42))]

    async def _schedules(self):
        self._answer()
        ticks = await self._ticks("check-pending-orders")
        return [
            EntryReport(
                id="check-pending-orders",
                kind="check_pending_orders",
                queue="default",
                interval=timedelta(seconds=5),
                description="every 5 seconds",
                overlap="skip",
                next_slot=self.at + timedelta(seconds=3),
                next_slots=tuple(self.at + timedelta(seconds=3 + 5 * i) for i in range(5)),
                last=ticks[0],
                enqueued=17_280,
                skipped=4,
                missed=2,
            )
        ]

    async def _ticks(self, entry, *, limit=50, queue=None):
        self._answer()
        if entry != "check-pending-orders":
            raise NotFoundError("entry", entry)
        outcomes = {3: TickOutcome.SKIPPED, 7: TickOutcome.MISSED}
        first = self.at - timedelta(seconds=2)
        return [
            TickReport(
                entry=entry,
                slot=first - timedelta(seconds=5 * index),
                outcome=outcomes.get(index, TickOutcome.ENQUEUED),
                task_id="" if index == 7 else f"tick-{1_764_041_415 - 5 * index}",
                at=first - timedelta(seconds=5 * index),
            )
            for index in range(min(limit, 40))
        ]


def _course(found):
    sums = {
        name: (sum(each.processed for each in series), sum(each.failed for each in series))
        for name, series in found.items()
    }
    return Course(total([*found.values()]), sums)


def _minute(at, base):
    """Return figures that look lived in, and that are the same for the same minute."""
    minute = int(at.timestamp()) // 60
    wave = math.sin(minute / 9) * 0.12 + math.sin(minute / 2.3 + base) * 0.05
    processed = round(base * (1 + wave + (minute * 7919 % 13) / 120))
    bad_spell = base // 12 if base > 1_000 and minute % 60 in (31, 32, 33) else 0
    return MinuteReport(
        at=at, processed=processed, failed=(minute * 31 % 7) * base // 6_000 + bad_spell
    )


def _server(host, started, beat, queues, concurrency, running=()):  # noqa: PLR0917
    return ServerReport(
        id=f"{host}:1:4be2",
        host=host,
        pid=1,
        queues=queues,
        concurrency=concurrency,
        started_at=started,
        beat_at=beat,
        status=ServerStatus.RUNNING,
        version="0.1.0",
        running=running,
    )
