"""The answers of the API, as pydantic models: what is served and what OpenAPI says of it."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from duly.engine.reports import (
    EntryReport,
    MinuteReport,
    QueueReport,
    ServerReport,
    ServerStatus,
    TickOutcome,
    TickReport,
)
from duly.task import Attempt, AttemptOutcome, Task, TaskState
from duly_monitor.health import Health, Level
from duly_monitor.operations import ALLOWED, Operation
from duly_monitor.redaction import mask


class Answer(BaseModel):
    """The base of every answer."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class QueueAnswer(Answer):
    """One queue."""

    name: str
    health: Level
    summary: str = Field(description="how the queue is, in words")
    waiting: int
    active: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    quarantined: int
    aggregating: int = Field(description="tasks that wait in groups to be merged into one")
    processed: int = Field(description="attempts that ended, failures included")
    failed: int
    crashed: int
    processed_per_minute: int
    failed_per_minute: int
    oldest_waiting_seconds: float | None
    servers: int
    concurrency: int
    paused_since: datetime | None
    archive_dropped: int

    @classmethod
    def of(cls, report: QueueReport, health: Health) -> Self:
        """Return the answer for a report."""
        age = report.oldest_waiting
        counts = {name: getattr(report, name) for name in cls.model_fields if hasattr(report, name)}
        return cls(
            health=health.level,
            summary=health.sentence,
            oldest_waiting_seconds=None if age is None else age.total_seconds(),
            **counts,
        )


class QueueListAnswer(Answer):
    """Every queue, by name."""

    queues: list[QueueAnswer]


class MinuteAnswer(Answer):
    """One minute of one queue."""

    at: datetime
    processed: int
    failed: int

    @classmethod
    def of(cls, report: MinuteReport) -> Self:
        """Return the answer for a report."""
        return cls.model_validate(report)


class MinuteListAnswer(Answer):
    """What a queue did, minute by minute, oldest first."""

    minutes: list[MinuteAnswer]


class AttemptAnswer(Answer):
    """One run of a task that did not succeed."""

    number: int
    outcome: AttemptOutcome
    at: datetime
    started_at: datetime | None
    duration_seconds: float
    server: str
    error: str
    traceback: str
    trace_id: str = Field(description="of the W3C trace; empty when it was not traced")

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Return the answer for an attempt."""
        return cls(
            number=attempt.number,
            outcome=attempt.outcome,
            at=attempt.at,
            duration_seconds=attempt.duration.total_seconds(),
            server=attempt.server,
            error=attempt.error,
            traceback=attempt.traceback,
            started_at=attempt.started_at,
            trace_id=attempt.trace_id,
        )


class ProgressAnswer(Answer):
    """How far a handler says it has come, as of the last heartbeat."""

    fraction: float = Field(description="0 to 1")
    note: str


class TaskAnswer(Answer):
    """One task. Values under keys that name a secret are masked."""

    id: str
    queue: str
    kind: str
    state: TaskState
    payload: dict[str, Any]
    labels: dict[str, Any]
    attempts: int
    crashes: int
    max_attempts: int
    enqueued_at: datetime | None
    due_at: datetime | None
    ended_at: datetime | None
    server: str
    history: list[AttemptAnswer] = Field(description="newest first")
    result: Any
    progress: ProgressAnswer | None = Field(description="of an active task whose handler tells it")
    operations: list[Operation] = Field(description="what can be done to it in this state")

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the answer for a task."""
        return cls(
            id=task.id,
            queue=task.queue,
            kind=task.kind,
            state=task.state,
            payload=mask(task.payload),
            labels=mask(task.labels),
            attempts=task.attempts,
            crashes=task.crashes,
            max_attempts=task.max_attempts,
            enqueued_at=task.enqueued_at,
            due_at=task.due_at,
            ended_at=task.ended_at,
            server=task.server,
            history=[AttemptAnswer.of(attempt) for attempt in task.history],
            result=mask(task.result),
            progress=ProgressAnswer.model_validate(task.progress) if task.progress else None,
            operations=list(ALLOWED[task.state]),
        )


class TaskListAnswer(Answer):
    """A page of tasks."""

    tasks: list[TaskAnswer]
    next_cursor: str | None = Field(description="asks for the next page; null at the end")


class TickAnswer(Answer):
    """One recorded tick."""

    entry: str
    slot: datetime
    outcome: TickOutcome
    task_id: str
    at: datetime

    @classmethod
    def of(cls, report: TickReport) -> Self:
        """Return the answer for a report."""
        return cls.model_validate(report)


class TickListAnswer(Answer):
    """The newest ticks of an entry, newest first."""

    ticks: list[TickAnswer]


class EntryAnswer(Answer):
    """One line of the timetable."""

    id: str
    kind: str
    queue: str
    description: str = Field(description="when it is due, in plain English")
    interval_seconds: float | None = Field(description="null: it goes by cron")
    cron: str | None
    timezone: str = Field(description="in which cron is read")
    overlap: str = Field(description="skip, queue_one or allow")
    catch_up: str = Field(description="skip, one or all")
    next_slot: datetime = Field(description="the first that nobody has claimed yet")
    next_slots: list[datetime] = Field(description="the next five from now on")
    last: TickAnswer | None
    enqueued: int
    skipped: int
    missed: int
    caught_up: int
    triggered: int
    paused_since: datetime | None = Field(description="since when an operator has it paused")
    held: bool = Field(description="the timetable itself says that it is paused")

    @classmethod
    def of(cls, report: EntryReport) -> Self:
        """Return the answer for a report."""
        every = report.interval
        facts = {name: getattr(report, name) for name in cls.model_fields if hasattr(report, name)}
        return cls(
            **facts
            | {
                "interval_seconds": None if every is None else every.total_seconds(),
                "last": None if report.last is None else TickAnswer.of(report.last),
                "next_slots": list(report.next_slots),
            }
        )


class EntryListAnswer(Answer):
    """The timetable, by id."""

    schedules: list[EntryAnswer]


class RunningAnswer(Answer):
    """A task that a server runs."""

    id: str
    kind: str
    queue: str
    started_at: datetime
    stuck: bool = Field(description="told to stop long ago, and goes on all the same")
    progress: ProgressAnswer | None = Field(description="null: its handler does not tell")


class ServerAnswer(Answer):
    """One worker process."""

    id: str
    host: str
    pid: int
    queues: dict[str, int] = Field(description="queue name and its weight")
    concurrency: int
    started_at: datetime
    beat_at: datetime
    status: ServerStatus
    version: str
    running: list[RunningAnswer]

    @classmethod
    def of(cls, report: ServerReport) -> Self:
        """Return the answer for a report."""
        return cls.model_validate(report)


class ServerListAnswer(Answer):
    """Every worker with a heartbeat, the lost ones included."""

    servers: list[ServerAnswer]


class ReceiptAnswer(Answer):
    """What was done."""

    operation: str
    queue: str
    task_id: str | None = None


class ProblemAnswer(Answer):
    """Why it was not done (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
