"""One attempt: the running of one task, from its delivery to what becomes of it."""

import asyncio
import traceback
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from duly.clock import from_unix_ms, to_ms
from duly.engine.backoff import backoff
from duly.engine.codec import Message, encode_attempt, whole
from duly.engine.middleware import Ended, Outcome
from duly.engine.scripts import Settlement
from duly.engine.store import Delivery
from duly.errors import MalformedTaskError, Retry, Revoke, Skip
from duly.job import Job, Policy
from duly.task import Attempt, AttemptOutcome, TaskContext


@dataclass(slots=True)
class Running:
    """A task that runs now."""

    delivery: Delivery
    queue: str
    message: Message
    job: Job
    context: TaskContext
    timeout: float
    started_ms: int
    started: float
    task: asyncio.Task[None] | None = None
    interrupted: Outcome | None = None
    """Why it was cancelled, when it was not by its timeout."""
    timed_out: bool = False

    @property
    def lock(self) -> str:
        """Digest of its unique lock, or ""."""
        lock = self.message.labels.get("lock", "")
        return lock if isinstance(lock, str) else ""

    @property
    def dirty(self) -> bool:
        """Whether it has tries or history outside the stream."""
        return self.delivery.retried


def limits(message: Message, policy: Policy) -> tuple[int, float]:
    """Return a task's most attempts and the seconds one may take: its labels, else its policy.

    Raises:
        MalformedTaskError: A label is no number.
    """
    attempts = max(1, whole(message.labels, "max_attempts", policy.max_attempts))
    timeout_ms = whole(message.labels, "timeout_ms", to_ms(policy.timeout))
    return attempts, timeout_ms / 1000


def headers(message: Message) -> dict[str, str]:
    """Return the task's headers.

    Raises:
        MalformedTaskError: They are not a map of strings.
    """
    found = message.labels.get("headers") or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise MalformedTaskError("label headers is not a map of strings")
    return found


def success(running: Running, result: bytes) -> Settlement | None:
    """Return how to settle a success that is kept, or None when nothing of it is kept."""
    kept_ms = whole(running.message.labels, "retention_ms", to_ms(running.job.policy.retention))
    if not kept_ms:
        return None
    return Settlement(
        entry=running.delivery.entry,
        id=running.message.task_id,
        kind=running.message.task_name,
        verdict="completed",
        in_ms=kept_ms,
        tries=f"{running.delivery.attempts} {running.delivery.crashes}",
        lock=running.lock,
        result=result,
        outcomes="processed",
    )


def failure(
    running: Running, error: BaseException, *, now_ms: int, duration: timedelta, server: str
) -> tuple[Settlement, Ended]:
    """Decide what becomes of a task whose attempt raised `error`."""
    context, delivery = running.context, running.delivery
    attempts = delivery.attempts + 1
    retry_in: timedelta | None = None
    outcome, how = Outcome.ARCHIVED, AttemptOutcome.FAILED
    if isinstance(error, Revoke):
        outcome = Outcome.REVOKED
    elif isinstance(error, Skip):
        how = AttemptOutcome.SKIPPED
    elif attempts < context.max_attempts:
        outcome = Outcome.RETRIED
        asked = error.after if isinstance(error, Retry) else None
        retry_in = asked if asked is not None else backoff(running.job.policy, attempts)
    if running.timed_out:
        how = AttemptOutcome.TIMED_OUT
    record = Attempt(
        number=attempts,
        outcome=how,
        at=from_unix_ms(now_ms),
        duration=duration,
        server=server,
        error=_describe(running, error),
        traceback=_traceback(error),
    )
    settlement = Settlement(
        entry=delivery.entry,
        id=running.message.task_id,
        kind=running.message.task_name,
        verdict=_VERDICTS[outcome],
        in_ms=to_ms(retry_in) if retry_in else 0,
        tries=f"{attempts} {delivery.crashes}",
        attempt=b"" if outcome is Outcome.REVOKED else encode_attempt(record),
        lock=running.lock,
        outcomes=_COUNTED[outcome],
    )
    return settlement, Ended(context, outcome, duration, error, retry_in)


_OWN_FRAMES = "duly.engine.receiver"
_VERDICTS: dict[Outcome, Literal["retry", "archived", "dropped"]] = {
    Outcome.RETRIED: "retry",
    Outcome.ARCHIVED: "archived",
    Outcome.REVOKED: "dropped",
}
_COUNTED = {
    Outcome.RETRIED: "processed,failed",
    Outcome.ARCHIVED: "processed,failed,archived",
    Outcome.REVOKED: "processed",
}


def quarantine(
    delivery: Delivery, task_id: str, reason: str, *, now_ms: int, server: str
) -> Settlement:
    """Return how to settle an entry that can not be run, with the reason."""
    record = Attempt(
        number=delivery.attempts + 1,
        outcome=AttemptOutcome.QUARANTINED,
        at=from_unix_ms(now_ms),
        server=server,
        error=reason,
    )
    return Settlement(
        entry=delivery.entry,
        id=task_id,
        kind="-",  # a stranger's kind is no name for a counter
        verdict="quarantined",
        tries=f"{delivery.attempts} {delivery.crashes}",
        attempt=encode_attempt(record),
        outcomes="quarantined",
    )


def _describe(running: Running, error: BaseException) -> str:
    if running.timed_out:
        return f"TimeoutError: not done within {running.timeout:g} s"
    return f"{type(error).__name__}: {error}"


def _traceback(error: BaseException) -> str:
    """Return the traceback from the handler on: duly's own frames at its top say nothing."""
    frames = error.__traceback__
    while (
        frames is not None and frames.tb_frame.f_globals.get("__name__") == "duly.engine.receiver"
    ):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames, limit=-30))
