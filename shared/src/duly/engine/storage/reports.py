"""What the inspector answers: frozen values, each a snapshot, none of them live."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from duly.task import Progress, Task, TaskState

UNKNOWN_KIND = "no live worker knows its kind"
"""Why such a task is deferred, and at last quarantined, as its history says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """One queue at one instant; every count is read in constant time."""

    name: str
    waiting: int = 0
    active: int = 0
    scheduled: int = 0
    retry: int = 0
    archived: int = 0
    completed: int = 0
    quarantined: int = 0
    aggregating: int = 0
    processed: int = 0
    """Attempts that ended since the queue exists, failures included."""
    failed: int = 0
    """Attempts that ended in failure since the queue exists."""
    crashed: int = 0
    """Attempts that ended with the death of their server."""
    processed_per_minute: int = 0
    """In the last sixty seconds, at the resolution of a minute."""
    failed_per_minute: int = 0
    processed_today: int = 0
    """Since midnight UTC."""
    failed_today: int = 0
    oldest_waiting: timedelta | None = None
    """Age of the task that has waited longest; None when none waits."""
    overdue: Mapping[TaskState, timedelta] = field(default_factory=dict, hash=False)
    """Scheduled, retry, aggregating → how long the first has been due; those where one is."""
    servers: int = 0
    """Live workers that serve the queue."""
    concurrency: int = 0
    """Tasks that those workers may run at once."""
    paused_since: datetime | None = None
    paused_by: str = ""
    """Who paused it; "" where that is not known."""
    pause_reason: str = ""
    """Why, in that person's words."""
    archive_dropped: int = 0
    """Archived tasks that were dropped by the archive's bounds."""
    error: str = ""
    """Why the queue could not be read; the counts are then 0."""

    @property
    def held(self) -> int:
        """Tasks in whatever state."""
        return sum(getattr(self, state.value) for state in TaskState)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteReport:
    """What one queue did in one minute."""

    at: datetime
    processed: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReport:
    """What one queue did in one day of UTC."""

    at: datetime
    """Its beginning."""
    processed: int
    failed: int
    crashed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """A page of tasks; `next_cursor` asks for the following one, None at the end."""

    tasks: tuple[Task, ...]
    next_cursor: str | None = None
    previous_cursor: str | None = None
    """Asked for in the opposite order, it gives the page before this one, last task first."""
    cursors: tuple[str, ...] = ()
    """Of each task, the cursor of what follows it; empty where one can go on by pages only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """What a server says it is running."""

    id: str
    kind: str
    queue: str
    started_at: datetime
    stuck: bool = False
    """It was asked to stop (timed out, cancelled) and still runs."""
    progress: Progress | None = None
    """How far its handler says it has come."""


class ServerStatus(StrEnum):
    """What a server is doing."""

    RUNNING = "running"
    QUIET = "quiet"
    """It takes no more tasks, by an operator's command."""
    DRAINING = "draining"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """One worker process, as its last heartbeat described it."""

    id: str
    host: str
    pid: int
    queues: dict[str, int]
    """Queue name → weight."""
    concurrency: int
    started_at: datetime
    beat_at: datetime
    status: ServerStatus
    version: str = ""
    running: tuple[RunningTask, ...] = ()
    kinds: tuple[str, ...] = ()
    """Kinds of job that it has handlers for, 500 at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindReport:
    """One kind of job, as workers and schedulers publish it."""

    kind: str
    queue: str
    """Where its tasks wait unless a call says otherwise."""
    app: str = ""
    """Name of the application that publishes it; "": it has none."""
    description: str = ""
    """First paragraph of the docstring of its class."""
    policy: dict[str, Any] = field(default_factory=dict)
    """As JSON: durations in ISO 8601, functions as their names."""
    schema: dict[str, Any] | None = None
    """JSON schema of the payload; None: it is too large, or there is none."""
    published_at: datetime
    servers: tuple[str, ...] = ()
    """Ids of the live servers that handle it, sorted."""
    rival_app: str | None = None
    """Application that publishes another schema of it, and is older; None: nobody does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockReport:
    """A unique lock: no other task of the same kind and payload is taken until it ends."""

    digest: str
    """Of kind and payload."""
    task_id: str
    """Who holds it."""
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LockPage:
    """The unique locks of a queue, those that end first first."""

    locks: tuple[LockReport, ...]
    complete: bool = True
    """False: there are more than were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A task that has just been given up, by no will of an operator."""

    queue: str
    task_id: str
    kind: str
    """"-" where it is not known."""
    state: TaskState
    """Archived or quarantined."""
    reason: str
    """As in its history: the last error, shortened. May hold what the handler put into it."""
    attempted: bool = True
    """False: no attempt of it has ended. It was to be merged with others, which failed."""


class TickOutcome(StrEnum):
    """What became of one due instant of a schedule."""

    ENQUEUED = "enqueued"
    SKIPPED = "skipped"
    """The task of an earlier tick was still on its way (overlap policy skip or queue_one)."""
    PAUSED = "paused"
    """The entry was paused."""
    MISSED = "missed"
    """No scheduler ran when it was due."""
    CAUGHT_UP = "caught_up"
    """No scheduler ran when it was due; it was made up for (catch-up policy one or all)."""
    TRIGGERED = "triggered"
    """No due instant: somebody had the entry's task enqueued, beside its ticks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickReport:
    """One recorded tick."""

    entry: str
    slot: datetime
    outcome: TickOutcome
    task_id: str
    """The task it enqueued; for a skipped tick the one that was still on its way."""
    at: datetime
    """When it was claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryReport:
    """One line of the timetable, as the schedulers last announced it."""

    id: str
    kind: str
    queue: str
    interval: timedelta | None
    """None: it goes by `cron`."""
    overlap: str
    next_slot: datetime
    """The first that nobody has claimed yet; long past when no scheduler runs."""
    cron: str | None = None
    timezone: str = "UTC"
    description: str = ""
    """When it is due, in plain English."""
    catch_up: str = "skip"
    payload: dict[str, Any] = field(default_factory=dict)
    next_slots: tuple[datetime, ...] = ()
    """The next five from now on."""
    last: TickReport | None = None
    enqueued: int = 0
    skipped: int = 0
    paused: int = 0
    missed: int = 0
    caught_up: int = 0
    triggered: int = 0
    paused_since: datetime | None = None
    """Since when an operator has it paused."""
    held: bool = False
    """The timetable itself says that it is paused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """Tasks that wait to be merged into one."""

    kind: str
    name: str
    queue: str
    size: int
    oldest: datetime | None
    """Since when its first member waits."""
    due: datetime
    """When it is merged, if nothing else comes; while it is merged: when it is given up."""
    tries: int = 0
    """Times that its merging was begun, and has not succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinReport:
    """A task that waits for the members of a group to succeed."""

    id: str
    queue: str
    since: datetime
    members: int = 0
    awaited: tuple[int, ...] = ()
    """Members that have not succeeded yet, counted from 0."""
    task_id: str = ""
    """Of the task that is to follow."""
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerReport:
    """One node that holds queues; None and "": its user may not ask."""

    address: str
    version: str
    memory_bytes: int | None
    memory_limit_bytes: int | None
    """None: no limit, too."""
    clients: int | None
    queues: tuple[str, ...]
    slots: dict[str, int]
    """In a Cluster: queue → hash slot."""


class BulkRunState(StrEnum):
    """How a bulk operation stands."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    """By an operator."""
    FAILED = "failed"
    """The broker did not answer, or the process that ran it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRunReport:
    """One operation on many tasks, as the process that runs it last described it."""

    id: str
    operation: str
    selection: str
    """Which tasks, in the words of a search."""
    by: str
    started_ms: int
    updated_ms: int
    state: BulkRunState = BulkRunState.RUNNING
    total: int = 0
    done: int = 0
    gone: int = 0
    """Tasks that had moved on meanwhile; they were left alone."""
    failed: int = 0
    error: str = ""
    """Why tasks failed, or why all of it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """Who did what at a monitor, and how it ended."""

    user: str
    """Name of the user or of the token; "": nobody had logged in."""
    action: str
    """What was asked for, such as `pause_queue` or `log_in`."""
    result: str
    """`done`, `started`, `refused`, `failed` or `unknown`."""
    role: str = ""
    target: str = ""
    """What it was done to, as `name=value` words."""
    filter: str = ""
    """For an action on many: the search that chose them."""
    count: int | None = None
    """For an action on many: how many it touched."""
    tasks: tuple[str, ...] = ()
    """For an action on many tasks: the first of them, as `queue/id`."""
    reason: str = ""
    """Why, in the user's words."""
    detail: str = ""
    """Why it was refused or failed."""
    request_id: str = ""
    peer: str = ""
    """The address that it came from."""
    id: str = ""
    """Given by the broker, ascending; "" before it is written."""
    at: datetime | None = None
    """By the broker's clock; None before it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Records of the audit, the newest first."""

    records: tuple[AuditRecord, ...]
    next_cursor: str | None
    """Where the next page begins; None: this is the last."""
