"""The responses of the API, as pydantic models: what is served and what OpenAPI documents."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from duly.engine.storage.reports import (
    EntryReport,
    KindReport,
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
from duly_monitor.redaction import mask, mask_text


class Answer(BaseModel):
    """The base of every response."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class QueueAnswer(Answer):
    """One queue."""

    name: str
    health: Level
    summary: str = Field(description="the health of the queue in one sentence")
    waiting: int
    active: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    quarantined: int
    aggregating: int = Field(description="tasks that wait in groups to be merged")
    processed: int = Field(description="attempts that ended, failures included")
    failed: int
    crashed: int
    processed_per_minute: int
    failed_per_minute: int
    oldest_waiting_seconds: float | None
    servers: int
    concurrency: int
    paused_since: datetime | None
    paused_by: str = Field(description="who paused it; empty: not paused, or not known")
    pause_reason: str = Field(description="why, in that person's words")
    archive_dropped: int
    error: str = Field(description="why the queue cannot be read; empty: it can")

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
    """The throughput of a queue, minute by minute, oldest first."""

    minutes: list[MinuteAnswer]


class AttemptAnswer(Answer):
    """One run of a task that has ended."""

    number: int
    outcome: AttemptOutcome
    at: datetime = Field(description="when it ended")
    started_at: datetime | None
    waiting_since: datetime | None = Field(description="null: not recorded")
    duration_seconds: float
    server: str
    error: str
    traceback: str
    trace_id: str = Field(description="of the W3C trace; empty: not traced")

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Return the answer for an attempt."""
        return cls(
            number=attempt.number,
            outcome=attempt.outcome,
            at=attempt.at,
            duration_seconds=attempt.duration.total_seconds(),
            server=attempt.server,
            error=mask_text(attempt.error),
            traceback=mask_text(attempt.traceback),
            started_at=attempt.started_at,
            waiting_since=attempt.waiting_since,
            trace_id=attempt.trace_id,
        )


class ProgressAnswer(Answer):
    """The progress that a handler reported, as of the last heartbeat."""

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
    attempts: int = Field(description="that have ended, the success included; a crash is none")
    crashes: int
    max_attempts: int = Field(
        description="as the call asked for; 0: the policy of its kind decides"
    )
    enqueued_at: datetime | None
    due_at: datetime | None = Field(
        description="scheduled, retry: when it waits; completed: when it is removed"
    )
    started_at: datetime | None = Field(description="of the newest attempt that has ended")
    ended_at: datetime | None = Field(description="archived, completed, quarantined: since when")
    duration_seconds: float | None = Field(description="of the newest attempt that has ended")
    server: str = Field(description="that runs it; empty: it is not active")
    history: list[AttemptAnswer] = Field(
        description="the attempts that have ended, newest first; of a completed task its success"
    )
    result: Any
    progress: ProgressAnswer | None = Field(description="null: none reported, or not active")
    operations: list[Operation] = Field(description="operations allowed in this state")

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the answer for a task."""
        last = next(iter(task.ended_attempts), None)
        return cls(
            id=task.id,
            queue=task.queue,
            kind=task.kind,
            state=task.state,
            payload=mask(task.payload),
            labels=mask(task.labels),
            attempts=task.attempts + (task.state is TaskState.COMPLETED),
            crashes=task.crashes,
            max_attempts=task.max_attempts,
            enqueued_at=task.enqueued_at,
            due_at=task.due_at,
            started_at=last.started_at if last else None,
            ended_at=task.ended_at,
            duration_seconds=last.duration.total_seconds() if last else None,
            server=task.server,
            history=[AttemptAnswer.of(attempt) for attempt in task.ended_attempts],
            result=mask(task.result),
            progress=ProgressAnswer.model_validate(task.progress) if task.progress else None,
            operations=list(ALLOWED[task.state]),
        )


class TaskListAnswer(Answer):
    """A page of tasks."""

    tasks: list[TaskAnswer]
    next_cursor: str | None = Field(description="cursor of the next page; null: this is the last")


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
    """One entry of the timetable."""

    id: str
    kind: str
    queue: str
    description: str = Field(description="when it is due, in plain English")
    interval_seconds: float | None = Field(description="null: the entry uses cron")
    cron: str | None
    timezone: str = Field(description="time zone of cron")
    overlap: str = Field(description="skip, queue_one or allow")
    catch_up: str = Field(description="skip, one or all")
    next_slot: datetime = Field(description="the first slot that is not claimed yet")
    next_slots: list[datetime] = Field(description="the next five slots")
    last: TickAnswer | None
    enqueued: int
    skipped: int
    missed: int
    caught_up: int
    triggered: int
    paused_since: datetime | None = Field(
        description="when an operator paused it; null: not paused"
    )
    held: bool = Field(description="paused in the timetable itself")

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
    """A task that a server is running."""

    id: str
    kind: str
    queue: str
    started_at: datetime
    stuck: bool = Field(description="the handler ignores cancellation, or the outcome is refused")
    progress: ProgressAnswer | None = Field(description="null: none reported")


class ServerAnswer(Answer):
    """One worker process."""

    id: str
    host: str
    pid: int
    queues: dict[str, int] = Field(description="queue name → weight")
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
    """Every worker process, including lost ones."""

    servers: list[ServerAnswer]


class KindAnswer(Answer):
    """One kind of job."""

    kind: str
    queue: str = Field(description="where its tasks wait unless a call says otherwise")
    app: str = Field(description="application that publishes it; empty: it has no name")
    description: str
    published_at: datetime
    servers: list[str] = Field(description="ids of the live servers that handle it")
    rival_app: str | None = Field(
        description="application that publishes another payload of it; null: none"
    )

    @classmethod
    def of(cls, report: KindReport) -> Self:
        """Return the answer for a report."""
        facts = {name: getattr(report, name) for name in KindAnswer.model_fields}
        return cls(**facts | {"servers": list(report.servers)})


class KindDetailAnswer(KindAnswer):
    """One kind of job with all that is published of it."""

    policy: dict[str, Any]
    payload_schema: dict[str, Any] | None = Field(description="JSON schema; null: none published")

    @classmethod
    @override
    def of(cls, report: KindReport) -> Self:
        """Return the answer for a report."""
        facts = KindAnswer.of(report).model_dump()
        return cls(**facts, policy=report.policy, payload_schema=report.schema)


class KindListAnswer(Answer):
    """Every published kind, by name."""

    kinds: list[KindAnswer]


class ReceiptAnswer(Answer):
    """The operation that was carried out."""

    operation: str
    queue: str
    task_id: str | None = None


class ProblemAnswer(Answer):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str = Field(description="as in X-Request-Id, in the log and in the audit")
