"""What happened to a task, from its enqueueing to now, and what is due next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from duly.clock import from_unix_ms
from duly.engine.storage.reports import RunningTask
from duly.task import Attempt, AttemptOutcome, Task, TaskState

_MOST_MS = 2**47
_DURATION = TypeAdapter(timedelta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a timeline."""

    what: str
    at: datetime | None
    """None: when is not known."""
    tone: str = "note"
    """As those of health: ok, warn, bad, note."""
    server: str = ""
    took: timedelta | None = None
    detail: str = ""


def events_of(task: Task, running: RunningTask | None, policy: Mapping[str, Any]) -> list[Event]:
    """Return a task's timeline, the oldest first.

    Args:
        task: The task, with its history.
        running: What its server says of it, while it is active.
        policy: Of its kind, as it is published.
    """
    events = [Event(what="enqueued", at=enqueued_at(task))]
    dropped = max((attempt.number for attempt in task.history), default=0) - len(task.history)
    if dropped > 0:
        what = f"{dropped} older attempts, no longer recorded"
        events.append(Event(what=what, at=None))
    events += [_ended(attempt) for attempt in reversed(task.history)]
    return [*events, *_now(task, running, policy)]


def enqueued_at(task: Task) -> datetime | None:
    """Return when a task was enqueued, as far as it is known.

    A task that waits anew has a new entry in the stream: then what the broker says is later than
    its first attempt, and not when it was enqueued.
    """
    first = task.history[-1] if task.history else None
    if task.enqueued_at is None or first is None:
        return task.enqueued_at
    if first.number == 1 and not task.crashes and first.waiting_since is not None:
        return first.waiting_since
    return task.enqueued_at if task.enqueued_at <= (first.started_at or first.at) else None


def ended_at(task: Task, policy: Mapping[str, Any]) -> datetime | None:
    """Return when a task ended.

    Of a completed one whose success an older release has not recorded, that is known by how long
    it is kept.
    """
    if task.ended_at is not None or task.state is not TaskState.COMPLETED:
        return task.ended_at
    if task.due_at is None:
        return None
    kept = _ms_in(task, "retention_ms")
    try:
        return task.due_at - (
            timedelta(milliseconds=kept)
            if kept is not None
            else _DURATION.validate_python(policy.get("retention"))
        )
    except (ValidationError, OverflowError):
        return None


def deadline_of(task: Task) -> datetime | None:
    """Return the instant from which on a task is not run any more."""
    at = _ms_in(task, "deadline_ms")
    return None if at is None else from_unix_ms(at)


def runs_of(task: Task) -> int:
    """Return how many attempts there were, the one that runs or succeeded included."""
    return task.attempts + (task.state in {TaskState.ACTIVE, TaskState.COMPLETED})


def most_runs(task: Task, policy: Mapping[str, Any]) -> int:
    """Return how many attempts a task may have; 0: not known.

    Args:
        task: The task; what its call asked for goes before the policy.
        policy: Of its kind, as it is published.
    """
    most = task.max_attempts or policy.get("max_attempts")
    return most if isinstance(most, int) and not isinstance(most, bool) else 0


def _ended(attempt: Attempt) -> Event:
    return Event(
        what=f"attempt {attempt.number} {attempt.outcome.value.replace('_', ' ')}",
        at=attempt.at,
        tone=_TONES.get(attempt.outcome, "warn"),
        server=attempt.server,
        took=attempt.duration,
        detail=attempt.error,
    )


def _now(task: Task, running: RunningTask | None, policy: Mapping[str, Any]) -> list[Event]:
    """Return how it stands, and what comes next."""
    following = task.attempts + 1
    match task.state:
        case TaskState.ACTIVE:
            stuck = running is not None and running.stuck
            verb = "was asked to stop and still runs" if stuck else "is running"
            events = [
                Event(
                    what=f"attempt {following} {verb}",
                    at=running.started_at if running else None,
                    tone="bad" if stuck else "ok",
                    server=task.server,
                )
            ]
        case TaskState.RETRY:
            what = f"attempt {following} is due"
            events = [Event(what=what, at=task.due_at, tone="warn")]
        case TaskState.COMPLETED:
            done = Event(what="completed", at=ended_at(task, policy), tone="ok")
            if task.success is not None:
                done = _ended(task.success)
            events = [done, Event(what="removed", at=task.due_at)]
        case TaskState.ARCHIVED | TaskState.QUARANTINED:
            tone = "bad" if task.state is TaskState.ARCHIVED else "warn"
            events = [Event(what=task.state.value, at=task.ended_at, tone=tone)]
        case _:
            events = [Event(what=_WAITS[task.state], at=task.due_at or task.enqueued_at)]
    return events


_TONES = {
    AttemptOutcome.SUCCEEDED: "ok",
    AttemptOutcome.FAILED: "bad",
    AttemptOutcome.TIMED_OUT: "bad",
    AttemptOutcome.CRASHED: "bad",
}
_WAITS = {
    TaskState.WAITING: "waiting for a worker",
    TaskState.SCHEDULED: "due",
    TaskState.AGGREGATING: "waiting to be merged with its group",
}


def _ms_in(task: Task, name: str) -> int | None:
    """Return a label in ms; None where it is missing, or somebody else's."""
    value = task.labels.get(name)
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_MS
    return value if whole else None
