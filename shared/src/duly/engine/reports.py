"""What the inspector answers: frozen values, each a snapshot, none of them live."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from duly.task import Progress, Task, TaskState


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
    servers: int = 0
    """Live workers that serve the queue."""
    concurrency: int = 0
    """Tasks that those workers may run at once."""
    paused_since: datetime | None = None
    archive_dropped: int = 0
    """Archived tasks that were dropped by the archive's bounds."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """What a server says it is running."""

    id: str
    kind: str
    queue: str
    started_at: datetime
    stuck: bool = False
    """It was told to stop (timed out, cancelled) and goes on all the same."""
    progress: Progress | None = None
    """How far its handler says it has come."""


class ServerStatus(StrEnum):
    """What a server is doing."""

    RUNNING = "running"
    QUIET = "quiet"
    """It was told to take no more tasks."""
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
