"""A task: one life of a job in a queue, its states, and the legal moves between them."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from duly.clock import SystemClock, from_unix_ms, to_unix_ms
from duly.flow import Node, Step
from duly.job import Job

RESULT_LIMIT_BYTES = 256 * 1024
"""The largest result that is kept, as JSON."""
NOTE_LIMIT = 200
"""Characters of a handler's note on its progress that are kept."""


class TaskState(StrEnum):
    """Where a task is."""

    WAITING = "waiting"
    ACTIVE = "active"
    SCHEDULED = "scheduled"
    RETRY = "retry"
    ARCHIVED = "archived"
    COMPLETED = "completed"
    QUARANTINED = "quarantined"
    AGGREGATING = "aggregating"


class AttemptOutcome(StrEnum):
    """How one run of a task ended."""

    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    QUARANTINED = "quarantined"
    EXCUSED = "excused"
    """It failed, and its kind's policy does not count that as a failure."""
    EXPIRED = "expired"
    """The deadline of the whole task passed, while it ran or before it could."""
    SET_ASIDE = "set_aside"
    """Not run: no live worker knew its kind. Told once, however often that was so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a task that did not succeed, as kept with it (newest first, bounded)."""

    number: int
    """1 for the first run. A crash keeps the number of the run it ended."""
    outcome: AttemptOutcome
    at: datetime
    """When it ended."""
    started_at: datetime | None = None
    """When it began; None: not known, or it never did."""
    duration: timedelta = timedelta(0)
    server: str = ""
    error: str = ""
    """`ExceptionClass: message`, shortened."""
    traceback: str = ""
    trace_id: str = ""
    """Of the W3C trace it belonged to, 32 hexadecimal digits; "": none."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a handler says it has come."""

    fraction: float
    """0 to 1."""
    note: str = ""


class Task(msgspec.Struct, kw_only=True):
    """What is known of a task, in whatever state it is. To be read only."""

    id: str
    queue: str
    kind: str
    state: TaskState
    payload: dict[str, Any] = msgspec.field(default_factory=dict)
    labels: dict[str, Any] = msgspec.field(default_factory=dict)
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
    progress: Progress | None = None
    """Active: how far its handler says it has come, as of its server's last heartbeat."""


LEGAL: dict[TaskState | None, frozenset[TaskState | None]] = {
    None: frozenset({TaskState.WAITING, TaskState.SCHEDULED, TaskState.AGGREGATING}),
    TaskState.WAITING: frozenset(
        {TaskState.ACTIVE, TaskState.ARCHIVED, TaskState.QUARANTINED, None}
    ),
    TaskState.SCHEDULED: frozenset(
        {TaskState.WAITING, TaskState.AGGREGATING, TaskState.ARCHIVED, None}
    ),
    TaskState.AGGREGATING: frozenset({TaskState.WAITING, TaskState.ARCHIVED, None}),
    TaskState.ACTIVE: frozenset(
        {
            TaskState.WAITING,
            TaskState.SCHEDULED,
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


def encode_result(value: object) -> bytes:
    """Return a handler's result as JSON.

    Raises:
        TypeError: JSON can not hold it.
        ValueError: It takes more than 256 KiB.
    """
    data = msgspec.json.encode(value)
    if len(data) > RESULT_LIMIT_BYTES:
        raise ValueError(f"the result takes {len(data)} bytes, the limit is {RESULT_LIMIT_BYTES}")
    return data


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """What contexts ask of whoever runs them. One for all: a context only refers to it."""

    now_ms: Callable[[], int] = lambda: to_unix_ms(SystemClock().now())
    """The broker's time."""
    progressed: Callable[["TaskContext"], None] = lambda _: None
    """Told when the context has a new `reported`; from any thread."""
    drafted: Callable[["TaskContext"], None] = lambda _: None
    """Told when the context has a new `draft`; from any thread."""


_ALONE = Outside()
_KEYS = uuid.UUID("5f9e1b52-6a3c-5d84-9f0e-2c7b8d1a4e63")
"""The namespace of idempotency keys. Never to change: keys of tasks under way would."""


class TaskContext(msgspec.Struct, kw_only=True, eq=False):
    """What a handler may know of the task it runs, and tell. Its fields are to be read only.

    Every method may be called from any thread.

    A struct with instants as integers, since one is made for every attempt: a dataclass takes
    five times as long, and datetimes as long again.
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
    """When this attempt will be cancelled, by its timeout or the deadline of the whole task,
    whichever is first, on the broker's clock; 0: never."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    stopping: Callable[[], bool] = lambda: False
    """True once the worker drains: long handlers should come to an end."""
    cancelled: bool = False
    """Whether this attempt was told to stop: out of time, cancelled, or its lease lost."""
    reported: Progress | None = None
    """What `progress` was told last."""
    draft: bytes | None = None
    """What `write_result` was given last, as JSON."""
    outside: Outside = _ALONE
    successors: list[Any] | None = None
    """What `then` was given; None: nothing."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the work has come. Costs nothing: the next heartbeat carries the last word.

        Args:
            fraction: 0 to 1; what is beyond is cut off.
            note: For people, 200 characters at most: the monitor and `duly tasks inspect` show it.
        """
        self.reported = Progress(min(1.0, max(0.0, float(fraction))), note[:NOTE_LIMIT])
        self.outside.progressed(self)

    def write_result(self, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Keep a result so far: it can be seen within a second or so, the last one wins.

        What the handler returns takes its place, unless that is None. It stays with a task that
        fails, and goes with one that succeeds and has no retention.

        Raises:
            TypeError: JSON can not hold it.
            ValueError: It takes more than 256 KiB.
        """
        self.draft = encode_result(value)
        self.outside.drafted(self)

    def remaining(self) -> timedelta | None:
        """Return how long this attempt may still run, 0 when its time is over; None: for ever."""
        if not self.deadline_ms:
            return None
        return timedelta(milliseconds=max(0, self.deadline_ms - self.outside.now_ms()))

    def idempotency_key(self, step: str) -> str:
        """Return a UUID for one step of this task: the same in every attempt, in any process."""
        return str(uuid.uuid5(_KEYS, f"{self.queue}\0{self.id}\0{step}"))

    def then(self, *nodes: Node, **options: Any) -> None:  # noqa: ANN401 - `Client.enqueue`'s
        """Enqueue jobs, chains or groups in the step that ends this task with success.

        When the attempt ends in any other way they never are. They do not wait for one another,
        their ids are this task's and their places, unless the options give one, and a job whose
        id or unique lock is taken is left out and counted. A handler in a process can not; a
        chain that it is part of can.

        Args:
            nodes: What comes next.
            options: As of `Client.enqueue`, when it is one job.

        Raises:
            TypeError: Options for what is not one job.
        """
        if options:
            if len(nodes) != 1 or not isinstance(nodes[0], Job):
                raise TypeError("options are for one job: name others by duly.flow.step")
            nodes = (Step(nodes[0], options),)
        self.successors = [*(self.successors or []), *nodes]

    @property
    def waiting_since(self) -> datetime | None:
        """When the task began to wait for this attempt."""
        return from_unix_ms(self.waiting_since_ms) if self.waiting_since_ms else None

    @property
    def deadline(self) -> datetime | None:
        """When this attempt will be cancelled."""
        return from_unix_ms(self.deadline_ms) if self.deadline_ms else None
