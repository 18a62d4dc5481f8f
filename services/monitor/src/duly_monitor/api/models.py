"""What the API takes and answers, as pydantic models: what is served and what OpenAPI documents."""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import override

from duly.engine.inspection.health import Level
from duly.task import Attempt, AttemptOutcome, Task, TaskState
from duly_monitor.operations import ALLOWED, Operation
from duly_monitor.redaction import mask, mask_text

NEXT: Final = "cursor of the next page; null: this is the last"


def _whole(value: object) -> object:
    """JSON has no integers: 5.0 is one to a schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number of a body, however it is written."""


class Answer(BaseModel):
    """The base of every response."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class HealthAnswer(Answer):
    """How well something is, in a sentence."""

    level: Level
    sentence: str

    @override
    def __str__(self) -> str:
        return self.sentence


class Body(BaseModel):
    """The base of what is posted; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ReasonedBody(Body):
    """What is posted to change something, with a reason."""

    reason: str = Field("", max_length=500, description="why, for the audit")


class Receipt(Answer):
    """The operation that was carried out."""

    operation: str


class ReceiptAnswer(Receipt):
    """The operation that was carried out."""

    queue: str
    task_id: str | None = None


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
    note: Annotated[str, AfterValidator(mask_text)]


class TaskAnswer(Answer):
    """One task. Secrets in payload, labels, result and errors are masked."""

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

    @property
    def error(self) -> str:
        """The error of the newest attempt that has one, for tables."""
        return next((attempt.error for attempt in self.history if attempt.error), "")

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
    next_cursor: str | None = Field(description=NEXT)


class ProblemAnswer(Answer):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str = Field(description="as in X-Request-Id, in the log and in the audit")
