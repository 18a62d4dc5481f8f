"""A task: one life of a job in a queue, its states, and the transitions between them."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

import msgspec

from duly.clock import LAST_MS, SystemClock, from_unix_ms, to_unix_ms
from duly.flow import Node, Step
from duly.job import Job

RESULT_LIMIT_BYTES = 256 * 1024
"""The largest result that is kept, in bytes of JSON."""
NOTE_LIMIT = 200
"""How many characters of a progress note are kept."""


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

    SUCCEEDED = "succeeded"
    """Recorded of tasks that are kept after their success, and of no others."""
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    QUARANTINED = "quarantined"
    UNCOUNTED = "uncounted"
    """It failed, but the policy of its kind does not count the error as a failure."""
    EXPIRED = "expired"
    """The deadline of the task passed, while the attempt ran or before it could start."""
    DEFERRED = "deferred"
    """Not run, because no live worker knew its kind. Recorded once, however often it happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a task that has ended, as it is kept with the task."""

    number: int
    """1 for the first run. A crash keeps the number of the run that it ended."""
    outcome: AttemptOutcome
    at: datetime
    """When it ended."""
    started_at: datetime | None = None
    """When it started; None when that is not known, or when it never started."""
    waiting_since: datetime | None = None
    """When the task began to wait for it; None when that is not known."""
    duration: timedelta = timedelta(0)
    server: str = ""
    error: str = ""
    """`ExceptionClass: message`, shortened."""
    traceback: str = ""
    trace_id: str = ""
    """The W3C trace that it belonged to, 32 hexadecimal digits; empty when there was none."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress that a handler has reported."""

    fraction: float
    """0 to 1."""
    note: str = ""


class Task(msgspec.Struct, kw_only=True):
    """What is known of a task, in any state. Treat it as read-only."""

    id: str
    queue: str
    kind: str
    state: TaskState
    payload: dict[str, Any] = msgspec.field(default_factory=dict)
    labels: dict[str, Any] = msgspec.field(default_factory=dict)
    attempts: int = 0
    """Attempts that have failed so far."""
    crashes: int = 0
    """How often the server that ran it died."""
    max_attempts: int = 0
    """As the call asked for; 0 when the policy of its kind decides."""
    enqueued_at: datetime | None = None
    due_at: datetime | None = None
    """Scheduled and retry: when it becomes waiting. Completed: when it is removed."""
    ended_at: datetime | None = None
    """Archived, completed and quarantined: since when."""
    server: str = ""
    """Active: the server that runs it."""
    history: tuple[Attempt, ...] = ()
    """The attempts that did not succeed, newest first, bounded."""
    success: Attempt | None = None
    """Completed: the attempt that succeeded; None where an older release has recorded none."""
    result: Any = None
    progress: Progress | None = None
    """Active: what its handler reported, as of the last heartbeat of its server."""

    @property
    def ended_score_ms(self) -> int:
        """What an ended task is sorted by in its queue, in ms; -1: it has not ended, or unknown.

        A task that is run again and ends anew gets another.
        """
        if self.state not in ENDED:
            return -1
        instant = self.due_at if self.state is TaskState.COMPLETED else self.ended_at
        return -1 if instant is None else to_unix_ms(instant)

    @property
    def ended_attempts(self) -> tuple[Attempt, ...]:
        """The attempts that have ended, the success included, newest first, bounded."""
        return self.history if self.success is None else (self.success, *self.history)


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
ENDED = (TaskState.ARCHIVED, TaskState.QUARANTINED, TaskState.COMPLETED)
"""The states of tasks that will not run again by themselves."""
Operation = Literal["run", "archive", "delete", "cancel", "edit", "rerun"]
"""What an operator does to a task."""
ALLOWED: dict[Operation, tuple[TaskState, ...]] = {
    "run": (
        TaskState.ARCHIVED,
        TaskState.QUARANTINED,
        TaskState.RETRY,
        TaskState.SCHEDULED,
        TaskState.AGGREGATING,
    ),
    "archive": (
        TaskState.WAITING,
        TaskState.SCHEDULED,
        TaskState.RETRY,
        TaskState.AGGREGATING,
    ),
    "delete": tuple(state for state in TaskState if state is not TaskState.ACTIVE),
    "cancel": (TaskState.ACTIVE,),
    "edit": (TaskState.SCHEDULED, TaskState.RETRY),
    "rerun": (*ENDED, TaskState.SCHEDULED, TaskState.RETRY),
}
"""In which states each operation is allowed. The scripts, the inspector, the command line and the
monitor all take it from here."""


def encode_result(value: object) -> bytes:
    """Return a handler's result as JSON.

    Raises:
        TypeError: JSON cannot represent it.
        ValueError: It takes more than 256 KiB.
    """
    data = msgspec.json.encode(value)
    if len(data) > RESULT_LIMIT_BYTES:
        raise ValueError(
            f"the result takes {len(data)} bytes, but the limit is {RESULT_LIMIT_BYTES}"
        )
    return data


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """What contexts need from the process that runs them. All contexts share one."""

    now_ms: Callable[[], int] = lambda: to_unix_ms(SystemClock().now())
    """The broker's time."""
    progressed: Callable[["TaskContext"], None] = lambda _: None
    """Called when the context has a new `reported`; from any thread."""
    partial_result_written: Callable[["TaskContext"], None] = lambda _: None
    """Called when the context has a new `partial_result`; from any thread."""
    over: Callable[[], bool] = lambda: False
    """Whether the process has ended its work, and waits for no handler any longer."""


class Replacement(msgspec.Struct, kw_only=True):
    """What a task becomes for its next attempt, where its handler has sent it once more."""

    message: bytes
    """As a producer would encode it, under the same id."""
    wait: timedelta
    """Until it may run again."""


OWN_HEADERS = "duly-"
"""What the names of headers begin with that duly itself writes."""
SLOT_HEADER = "duly-slot"
"""Header of a tick's task: "ms of its slot, ms of the next one", separated by a space."""
ATTEMPTED_HEADER = "duly-attempted"
"""Header of a task that has run, if that was traced: its last attempt as a `traceparent`."""
_MOST_DIGITS = len(str(LAST_MS))
_ALONE = Outside()
_KEYS = uuid.UUID("5f9e1b52-6a3c-5d84-9f0e-2c7b8d1a4e63")
"""The namespace of idempotency keys. It must never change, or the keys of live tasks would."""


def tick_id(entry: str, slot_ms: int) -> str:
    """Return the id of the task of an entry's tick."""
    return f"{entry}@{from_unix_ms(slot_ms):%Y-%m-%dT%H:%M:%SZ}"


def slot_of(task_id: str, header: str) -> tuple[str, int] | None:
    """Return entry and slot, in ms, of a tick's task; None: it is none, or a rerun.

    Args:
        task_id: Its id.
        header: Its `SLOT_HEADER`.
    """
    slot, _, after = header.partition(" ")
    if not (slot.isdecimal() and after.isdecimal()):
        return None
    if max(len(slot), len(after)) > _MOST_DIGITS:
        return None
    entry, slot_ms = task_id.partition("@")[0], int(slot)
    return (entry, slot_ms) if task_id == tick_id(entry, slot_ms) else None


class TaskContext(msgspec.Struct, kw_only=True, eq=False):
    """What a handler knows of the task that it runs, and what it can report. Fields are read-only.

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
    """When the task began to wait for this attempt, in ms on the broker's clock; 0: not known."""
    started_ms: int = 0
    """When this attempt started, in ms on the broker's clock."""
    deadline_ms: int = 0
    """When this attempt will be cancelled, by its timeout or by the deadline of the task, whichever
    comes first, in ms on the broker's clock; 0: never."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    stopping: Callable[[], bool] = lambda: False
    """Returns True once the worker drains: long handlers should then end."""
    cancelled: bool = False
    """Whether this attempt was asked to stop: timed out, cancelled, or its lease lost."""
    timed_out: bool = False
    """Whether it was asked to stop because its time was over."""
    reported: Progress | None = None
    """What `progress` was called with last."""
    partial_result: bytes | None = None
    """What `write_result` was called with last, as JSON."""
    outside: Outside = _ALONE
    successors: list[Any] | None = None
    """What `then` was called with; None: nothing."""
    replacement: Replacement | None = None
    """What the task becomes if it is retried or requeued; None: it stays as it is."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress. It costs nothing: the next heartbeat carries the last report.

        Args:
            fraction: 0 to 1; values beyond are clipped.
            note: A text for people, 200 characters at most, shown by the monitor and
                `duly tasks inspect`.
        """
        self.reported = Progress(min(1.0, max(0.0, float(fraction))), note[:NOTE_LIMIT])
        self.outside.progressed(self)

    def write_result(self, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Store a partial result. It is visible within about a second; the last one wins.

        The value that the handler returns replaces it, unless that is None. A task that fails keeps
        it; a task that succeeds without retention drops it.

        Args:
            value: Whatever JSON can represent, 256 KiB at most.

        Raises:
            TypeError: JSON cannot represent it.
            ValueError: It takes more than 256 KiB.
        """
        self.partial_result = encode_result(value)
        self.outside.partial_result_written(self)

    def remaining(self) -> timedelta | None:
        """Return how long this attempt may still run, 0 at the least; None without a limit."""
        if not self.deadline_ms:
            return None
        return timedelta(milliseconds=max(0, self.deadline_ms - self.outside.now_ms()))

    def idempotency_key(self, step: str) -> str:
        """Return a UUID for one step of this task: the same in every attempt and every process."""
        return str(uuid.uuid5(_KEYS, f"{self.queue}\0{self.id}\0{step}"))

    def then(self, *nodes: Node, **options: Any) -> None:  # noqa: ANN401 - `Client.enqueue`'s
        """Enqueue jobs, chains or groups in the same step that completes this task.

        They are enqueued only if the attempt succeeds. They do not wait for one another. Their ids
        are derived from the id of this task, unless the options give one. A job whose id or unique
        lock is taken is not enqueued, and counted.

        Args:
            nodes: What comes next.
            options: The options of `Client.enqueue`, allowed for a single job only.

        Raises:
            TypeError: Options were given for anything but a single job.
        """
        if options:
            if len(nodes) != 1 or not isinstance(nodes[0], Job):
                raise TypeError("options apply to a single job: wrap the others in duly.step")
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
