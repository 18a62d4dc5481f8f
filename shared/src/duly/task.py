"""A task: one life of a job in a queue, its states, and the legal moves between them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from duly.clock import from_unix_ms


class TaskState(StrEnum):
    """Where a task is."""

    WAITING = "waiting"
    ACTIVE = "active"
    SCHEDULED = "scheduled"
    RETRY = "retry"
    ARCHIVED = "archived"
    COMPLETED = "completed"
    QUARANTINED = "quarantined"


class AttemptOutcome(StrEnum):
    """How one run of a task ended."""

    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a task that did not succeed, as kept with it (newest first, bounded)."""

    number: int
    """1 for the first run. A crash keeps the number of the run it ended."""
    outcome: AttemptOutcome
    at: datetime
    """When it ended."""
    duration: timedelta = timedelta(0)
    server: str = ""
    error: str = ""
    """`ExceptionClass: message`, shortened."""
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is known of a task, in whatever state it is."""

    id: str
    queue: str
    kind: str
    state: TaskState
    payload: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    """Runs that have ended in failure so far."""
    crashes: int = 0
    """Times the server that ran it died."""
    max_attempts: int = 0
    """As the call asked for; 0: by the policy of its kind."""
    enqueued_at: datetime | None = None
    due_at: datetime | None = None
    """Scheduled and retry: when it becomes waiting. Completed: when it is forgotten."""
    ended_at: datetime | None = None
    """Archived, completed, quarantined: since when."""
    server: str = ""
    """Active: who runs it."""
    history: tuple[Attempt, ...] = ()
    result: Any = None


LEGAL: dict[TaskState | None, frozenset[TaskState | None]] = {
    None: frozenset({TaskState.WAITING, TaskState.SCHEDULED}),
    TaskState.WAITING: frozenset(
        {TaskState.ACTIVE, TaskState.ARCHIVED, TaskState.QUARANTINED, None}
    ),
    TaskState.SCHEDULED: frozenset({TaskState.WAITING, TaskState.ARCHIVED, None}),
    TaskState.ACTIVE: frozenset(
        {
            TaskState.WAITING,
            TaskState.RETRY,
            TaskState.ARCHIVED,
            TaskState.COMPLETED,
            TaskState.QUARANTINED,
            None,
        }
    ),
    TaskState.RETRY: frozenset({TaskState.WAITING, TaskState.ARCHIVED, None}),
    TaskState.ARCHIVED: frozenset({TaskState.WAITING, None}),
    TaskState.COMPLETED: frozenset({None}),
    TaskState.QUARANTINED: frozenset({TaskState.WAITING, None}),
}
"""From each state, where a task may go; None is "does not exist" (before, or gone)."""


@dataclass(slots=True, kw_only=True, eq=False)
class TaskContext:
    """What a handler may know of the task it runs. To be read only.

    Not frozen and with instants as integers, since one is made for every attempt: frozen fields
    and datetimes took a tenth of a worker's time.
    """

    id: str
    """The same for every attempt: use it as the idempotency key of side effects."""
    queue: str
    kind: str
    attempt: int = 1
    max_attempts: int = 1
    crashes: int = 0
    waiting_since_ms: int = 0
    """When the task began to wait for this attempt, on the broker's clock; 0: not known."""
    started_ms: int = 0
    """When this attempt began, on the broker's clock."""
    deadline_ms: int = 0
    """When this attempt will be cancelled, on the broker's clock; 0: never."""
    headers: dict[str, str] = field(default_factory=dict)
    stopping: Callable[[], bool] = lambda: False
    """True once the worker drains: long handlers should come to an end."""

    @property
    def waiting_since(self) -> datetime | None:
        """When the task began to wait for this attempt."""
        return from_unix_ms(self.waiting_since_ms) if self.waiting_since_ms else None

    @property
    def deadline(self) -> datetime | None:
        """When this attempt will be cancelled."""
        return from_unix_ms(self.deadline_ms) if self.deadline_ms else None
