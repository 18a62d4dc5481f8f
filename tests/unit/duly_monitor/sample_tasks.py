"""Tasks in every state, for the fake inspector."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from duly.engine.storage.reports import JoinReport, LockReport
from duly.task import Attempt, AttemptOutcome, Task, TaskState

XSS = "<img src=x onerror=alert(1)>"
TRACEBACK = """Traceback (most recent call last):
  File "/app/duly_worker/handlers/invoices.py", line 41, in send_invoice
    response = await gateway.post(invoice)
  File "/app/duly_worker/gateway.py", line 88, in post
    raise GatewayError(f"{status}: {body[:80]}")
duly_worker.gateway.GatewayError: 502: upstream connect error
"""
_NODE = Path(__file__).parents[1] / "duly/engine/inspection/healthy_node.json"
INFO = {**json.loads(_NODE.read_text()), "os": XSS}


NOW = datetime(2026, 11, 25, 3, 30, 17, tzinfo=UTC)


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
            success=Attempt(
                number=1,
                outcome=AttemptOutcome.SUCCEEDED,
                at=now - timedelta(seconds=50),
                started_at=now - timedelta(seconds=58),
                waiting_since=now - timedelta(minutes=1),
                duration=timedelta(seconds=8),
                server="worker-mixed-58b7-q1zzv:1:4be2",
            ),
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


def sample_joins(now):
    """Return joins of flows, one of them by a stranger."""
    return [
        JoinReport(
            id="01JZ0000000000000000000001.2", queue="default", since=now - timedelta(minutes=12),
            members=40, awaited=(3, 17), task_id="01JZ0000000000000000000001.3",
            kind="send_report",
        ),
        JoinReport(id=f"{XSS}/..", queue="critical", since=now.replace(year=1970)),
    ]  # fmt: skip


def sample_locks(now):
    """Return unique locks, one with the nastiest of names."""
    return (
        LockReport(digest="9c1f" * 8, task_id="9f2c41d8e0b70", expires_at=now + timedelta(hours=1)),
        LockReport(digest=XSS, task_id=f"{XSS}/..", expires_at=now + timedelta(hours=2)),
    )


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


class FrozenClock:
    """Stands still at `NOW`."""

    def now(self):
        return NOW

    def monotonic(self):
        return 0.0
