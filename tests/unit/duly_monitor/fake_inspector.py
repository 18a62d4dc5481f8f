"""An inspector over plain values: what the monitor is tested and looked at with."""

import math
from datetime import UTC, datetime, timedelta

from duly.engine.inspector import Inspector
from duly.engine.reports import (
    EntryReport,
    MinuteReport,
    QueueReport,
    RunningTask,
    ServerReport,
    ServerStatus,
    TaskPage,
    TickOutcome,
    TickReport,
)
from duly.errors import BrokerDownError, IllegalTransitionError, NotFoundError
from duly.task import Attempt, AttemptOutcome, Progress, Task, TaskState

NOW = datetime(2026, 11, 25, 3, 30, 17, tzinfo=UTC)
XSS = "<img src=x onerror=alert(1)>"
TRACEBACK = """Traceback (most recent call last):
  File "/app/duly_worker/handlers/invoices.py", line 41, in send_invoice
    response = await gateway.post(invoice)
  File "/app/duly_worker/gateway.py", line 88, in post
    raise GatewayError(f"{status}: {body[:80]}")
duly_worker.gateway.GatewayError: 502: upstream connect error
"""
RUNNABLE = {
    TaskState.SCHEDULED,
    TaskState.RETRY,
    TaskState.AGGREGATING,
    TaskState.ARCHIVED,
    TaskState.QUARANTINED,
}
ARCHIVABLE = {TaskState.WAITING, TaskState.SCHEDULED, TaskState.RETRY, TaskState.AGGREGATING}


class FrozenClock:
    """Stands still at `NOW`."""

    def now(self):
        return NOW

    def monotonic(self):
        return 0.0


class FakeInspector(Inspector):
    """Holds tasks in a list; `down` makes it behave as if the broker were away."""

    def __init__(self, now=NOW):
        self.at = now
        self.down = False
        self.calls = 0
        self.paused = {"low": now - timedelta(minutes=26)}
        self.held = sample_tasks(now)

    def _answer(self):
        self.calls += 1
        if self.down:
            raise BrokerDownError("127.0.0.1:6379", "connection refused")

    def _count(self, queue, state):
        return sum(task.queue == queue and task.state is state for task in self.held)

    async def ping(self):
        self._answer()

    async def queues(self):
        self._answer()
        return [self._report(name) for name in ("critical", "default", "low")]

    async def queue(self, name):
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
            **counts,
            **extra,
        )

    async def minutes(self, name, *, count=60):
        self._answer()
        start = self.at.replace(second=0, microsecond=0) - timedelta(minutes=count - 1)
        base = {"critical": 300, "default": 1_250, "low": 14}[name]
        return [_minute(start + timedelta(minutes=index), base) for index in range(count)]

    async def tasks(self, queue, state, *, limit=30, cursor=None, newest=True):  # noqa: ARG002
        self._answer()
        if cursor is not None and not cursor.isdigit():
            raise ValueError(cursor)
        start = int(cursor or 0)
        found = [task for task in self.held if task.queue == queue and task.state is state]
        end = start + limit
        return TaskPage(
            tasks=tuple(found[start:end]), next_cursor=str(end) if end < len(found) else None
        )

    async def task(self, queue, task_id):
        self._answer()
        for task in self.held:
            if task.queue == queue and task.id == task_id:
                return task
        raise NotFoundError("task", task_id, f"queue {queue}")

    async def find(self, task_id):
        self._answer()
        for task in self.held:
            if task.id == task_id:
                return task
        raise NotFoundError("task", task_id)

    async def run(self, queue, task_id):
        await self._move(queue, task_id, "run", RUNNABLE, TaskState.WAITING)

    async def archive(self, queue, task_id):
        await self._move(queue, task_id, "archive", ARCHIVABLE, TaskState.ARCHIVED)

    async def delete(self, queue, task_id):
        await self._move(queue, task_id, "delete", set(TaskState) - {TaskState.ACTIVE}, None)

    async def _move(self, queue, task_id, operation, sources, target):
        task = await self.task(queue, task_id)
        if task.state not in sources:
            raise IllegalTransitionError(task_id, task.state.value, operation)
        self.held.remove(task)
        if target is not None:
            self.held.append(Task(id=task_id, queue=queue, kind=task.kind, state=target))

    async def pause(self, queue):
        self._answer()
        self.paused.setdefault(queue, self.at)

    async def resume(self, queue):
        self._answer()
        self.paused.pop(queue, None)

    async def servers(self):
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
                id="worker-low-7c44-m0aaa:1:8d1e",
                host="worker-low-7c44-m0aaa",
                pid=1,
                queues={"low": 1},
                concurrency=1,
                started_at=started,
                beat_at=self.at - timedelta(seconds=44),
                status=ServerStatus.LOST,
                version="0.1.0",
            ),
        ]

    async def schedules(self):
        self._answer()
        ticks = await self.ticks("check-pending-orders")
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

    async def ticks(self, entry, *, limit=50):
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


def sample_tasks(now):
    """Return tasks in every state, with the nastiest of texts among them."""
    failed = [
        archived(
            "a1b2c3d4e5f60718",
            "send_invoice",
            now - timedelta(minutes=3),
            "GatewayError: 502: upstream connect error",
            attempts=3,
        ),
        archived(
            "0f1e2d3c4b5a6978",
            "import_feed",
            now - timedelta(minutes=48),
            f"ValueError: unexpected {XSS} in line 7 of the feed",
            attempts=12,
        ),
        archived(
            "77aa88bb99cc00dd",
            "send_invoice",
            now - timedelta(hours=5, minutes=20),
            "TimeoutError: the attempt took longer than 30 s",
            attempts=3,
            queue="low",
        ),
    ]
    others = [
        Task(
            id="5d5d5d5d00000001",
            queue="default",
            kind="send_invoice",
            state=TaskState.RETRY,
            payload={"invoice_id": 9_007_199_254_740_993},
            attempts=1,
            max_attempts=3,
            enqueued_at=now - timedelta(minutes=2),
            due_at=now + timedelta(seconds=41),
            history=failed[0].history[:1],
        ),
        Task(
            id="5d5d5d5d00000002",
            queue="default",
            kind="send_reminder",
            state=TaskState.SCHEDULED,
            payload={"customer": 12},
            max_attempts=12,
            enqueued_at=now - timedelta(hours=1),
            due_at=now + timedelta(hours=23),
        ),
        Task(
            id="9f2c41d8e0b70",
            queue="default",
            kind="send_invoice",
            state=TaskState.ACTIVE,
            payload={"invoice_id": 5},
            max_attempts=3,
            enqueued_at=now - timedelta(seconds=9),
            server="worker-default-6d9f-x7k2p:1:4be2",
        ),
        Task(
            id="1764041400000-0",
            queue="low",
            kind="",
            state=TaskState.QUARANTINED,
            enqueued_at=now - timedelta(days=2),
            ended_at=now - timedelta(days=2),
            history=(
                Attempt(
                    number=1,
                    outcome=AttemptOutcome.QUARANTINED,
                    at=now - timedelta(days=2),
                    error="not a task: no JSON",
                ),
            ),
        ),
        Task(
            id="c0c0c0c000000001",
            queue="critical",
            kind="charge_card",
            state=TaskState.COMPLETED,
            payload={"order_id": 4},
            result={"ok": True},
            enqueued_at=now - timedelta(minutes=1),
            ended_at=now - timedelta(seconds=50),
            due_at=now + timedelta(hours=1),
        ),
        Task(
            id="ada0000000000001",
            queue="critical",
            kind="mention",
            state=TaskState.AGGREGATING,
            payload={"post": 7},
            labels={"group": [f"mention:{XSS}", 60_000, 0, 500]},
            enqueued_at=now - timedelta(seconds=20),
        ),
    ]
    waiting = [
        Task(
            id=f"beef{index:012x}",
            queue="default",
            kind="check_pending_orders",
            state=TaskState.WAITING,
            payload={"n": index},
            max_attempts=3,
            enqueued_at=now - timedelta(seconds=index),
        )
        for index in range(40)
    ]
    return failed + others + waiting


def archived(task_id, kind, ended, error, *, attempts, queue="default"):
    """Return a task that ran out of attempts."""
    history = tuple(
        Attempt(
            number=attempts - index,
            outcome=AttemptOutcome.FAILED,
            at=ended - timedelta(minutes=2 * index),
            duration=timedelta(milliseconds=840),
            server="worker-default-6d9f-x7k2p:1:4be2",
            error=error,
            traceback=TRACEBACK,
        )
        for index in range(min(attempts, 3))
    )
    return Task(
        id=task_id,
        queue=queue,
        kind=kind,
        state=TaskState.ARCHIVED,
        attempts=attempts,
        max_attempts=attempts,
        enqueued_at=ended - timedelta(minutes=9),
        ended_at=ended,
        payload={
            "invoice_id": 9_007_199_254_740_993,
            "customer_email": "ada@example.org",
            "access_token": "s3cr3t-value",
            "lines": [{"sku": "A-1", "quantity": 2}],
            "note": XSS,
        },
        labels={"trace": "00-4bf92f", "password": "hunter2"},
        history=history,
    )
