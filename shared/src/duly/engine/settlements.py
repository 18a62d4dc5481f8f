"""What becomes of a task when its attempt has ended: what the broker is to write."""

import asyncio
import traceback
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from duly.clock import from_unix_ms, to_ms
from duly.engine.attempt import Running
from duly.engine.backoff import backoff
from duly.engine.codec import ERROR_LIMIT, decode, encode_attempt
from duly.engine.delivery import Delivery, tries_text
from duly.engine.flows import Origin, bounded, follow, plan
from duly.engine.middleware import Ended, Outcome
from duly.engine.middleware.tracing import headers_of_current_span, trace_id_of
from duly.engine.offspring import traceback_of
from duly.engine.scripts import Settlement, Success, Successor
from duly.engine.verdict import Failed, decide, instant
from duly.errors import MalformedTaskError
from duly.task import RESULT_LIMIT_BYTES, Attempt, AttemptOutcome

_TRACE = ("traceparent", "tracestate", "baggage")


def hand_back(running: Running) -> Settlement:
    """Return how to give a task back that its handler did not want to end."""
    return Settlement(
        entry=running.delivery.entry,
        id=running.message.task_id,
        kind=running.message.task_name,
        verdict="waiting",
        tries=running.delivery.tries,
    )


def cancelled(running: Running, *, now_ms: int, seconds: float, server: str) -> Settlement:
    """Return how to settle a task that an operator had stopped."""
    delivery, attempts = running.delivery, running.delivery.attempts + 1
    why = "cancelled by an operator"
    record = _record(
        running, AttemptOutcome.CANCELLED, now_ms=now_ms, seconds=seconds, server=server
    )
    return Settlement(
        entry=delivery.entry,
        id=running.message.task_id,
        kind=running.message.task_name,
        verdict=running.cancel_as or "archived",
        in_ms=to_ms(backoff(running.job.policy, attempts, asyncio.CancelledError(why))),
        tries=tries_text(attempts, delivery.crashes, delivery.excuses),
        attempt=encode_attempt(replace(record, error=why)),
        lock=running.lock,
        outcomes="processed,cancelled",
    )


def _lock(delivery: Delivery) -> str:
    """Return the digest of the lock that a message names, or ""."""
    try:
        lock = decode(delivery.data or b"").labels.get("lock", "")
    except MalformedTaskError:
        return ""
    return lock if isinstance(lock, str) else ""


def success(running: Running, result: bytes) -> Settlement | None:
    """Return how to settle a success that is kept, or None when nothing of it is kept.

    Raises:
        ValueError: The result is too large to be kept.
    """
    if not running.retention_ms:
        return None
    if len(result) > RESULT_LIMIT_BYTES:
        raise ValueError(f"the result takes {len(result)} bytes, the limit is {RESULT_LIMIT_BYTES}")
    return Settlement(
        entry=running.delivery.entry,
        id=running.message.task_id,
        kind=running.message.task_name,
        verdict="completed",
        in_ms=running.retention_ms,
        tries=running.delivery.tries,
        lock=running.lock,
        result=result,
        outcomes="processed",
    )


def followed(running: Running, kept: Settlement | None, *, now_ms: int) -> Success:
    """Return how to settle a success that has successors; `kept`: how without them.

    Raises:
        Exception: They can not be made: as if the handler had raised it.
    """
    context, flow = running.context, running.flow
    traced = headers_of_current_span() or {
        name: context.headers[name] for name in _TRACE if name in context.headers
    }
    origin = Origin(task_id=context.id, headers=traced, now_ms=now_ms)
    successors: list[Successor] = []
    if flow is not None:
        successors += follow(flow.next, flow.join, origin)
    for place, node in enumerate(context.successors or (), 1):
        successors += follow(plan(node, f"{context.id}.{place}"), None, origin)
    return Success(
        entry=running.delivery.entry,
        id=running.message.task_id,
        kind=running.message.task_name,
        successors=bounded(successors),
        lock=running.lock,
        retention_ms=kept.in_ms if kept else 0,
        tries=running.delivery.tries,
        result=kept.result if kept else b"",
    )


def failure(
    running: Running, error: BaseException, *, now_ms: int, seconds: float, server: str
) -> tuple[Settlement, Ended]:
    """Decide what becomes of a task whose attempt raised `error`."""
    context, delivery, described = running.context, running.delivery, _describe(running, error)
    seen = TimeoutError(described) if running.timed_out else error
    verdict = decide(
        Failed(
            error=seen,
            policy=running.job.policy,
            attempts=delivery.attempts + 1,
            max_attempts=context.max_attempts,
            excuses=delivery.excuses,
            timed_out=running.timed_out,
            expired=running.timed_out and running.ends_with_task,
            now_ms=now_ms,
            expires_ms=running.expires_ms,
        )
    )
    excused = verdict.outcome is Outcome.EXCUSED
    record = replace(
        _record(running, verdict.how, now_ms=now_ms, seconds=seconds, server=server),
        error=_noted(described, verdict.note),
        traceback=_traceback(error),
    )
    settlement = Settlement(
        entry=delivery.entry,
        id=running.message.task_id,
        kind=running.message.task_name,
        verdict=_VERDICTS[verdict.outcome],
        in_ms=to_ms(verdict.retry_in) if verdict.retry_in else 0,
        tries=tries_text(
            delivery.attempts + (not excused), delivery.crashes, delivery.excuses + excused
        ),
        attempt=b"" if verdict.outcome is Outcome.REVOKED else encode_attempt(record),
        lock=running.lock,
        outcomes=_COUNTED[verdict.outcome],
        reason=record.error[:ERROR_LIMIT] if verdict.outcome is Outcome.ARCHIVED else "",
    )
    return settlement, Ended(context, verdict.outcome, seconds, error, verdict.retry_in)


def expired(running: Running, *, now_ms: int, server: str) -> Settlement:
    """Return how to settle a task whose deadline had passed before this attempt could begin."""
    record = Attempt(
        number=running.delivery.attempts + 1,
        outcome=AttemptOutcome.EXPIRED,
        at=from_unix_ms(now_ms),
        server=server,
        error=f"its deadline {instant(running.expires_ms)} passed before this attempt could begin",
        trace_id=trace_id_of(running.context.headers),
    )
    return Settlement(
        entry=running.delivery.entry,
        id=running.message.task_id,
        kind=running.message.task_name,
        verdict="archived",
        tries=running.delivery.tries,
        attempt=encode_attempt(record),
        lock=running.lock,
        outcomes="expired,archived",
        reason=record.error,
    )


def _record(
    running: Running, outcome: AttemptOutcome, *, now_ms: int, seconds: float, server: str
) -> Attempt:
    return Attempt(
        number=running.delivery.attempts + 1,
        outcome=outcome,
        at=from_unix_ms(now_ms),
        started_at=from_unix_ms(running.context.started_ms),
        duration=timedelta(seconds=seconds),
        server=server,
        trace_id=trace_id_of(running.context.headers),
    )


def _noted(error: str, note: str) -> str:
    """Return the error with a note that is not cut off with it."""
    return f"{error[: ERROR_LIMIT - len(note) - 3]} ({note})" if note else error


_OWN_FRAMES = {"duly.engine.runner", "duly.engine.threads"}
_VERDICTS: dict[Outcome, Literal["retry", "archived", "dropped"]] = {
    Outcome.EXCUSED: "retry",
    Outcome.RETRIED: "retry",
    Outcome.ARCHIVED: "archived",
    Outcome.REVOKED: "dropped",
}
_COUNTED = {
    Outcome.EXCUSED: "excused",
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
        lock=_lock(delivery),
        tries=delivery.tries,
        attempt=encode_attempt(record),
        outcomes="quarantined",
        reason=reason,
    )


def _describe(running: Running, error: BaseException) -> str:
    if running.timed_out and running.ends_with_task:
        return f"TimeoutError: not done by its deadline {instant(running.expires_ms)}"
    if running.timed_out:
        return f"TimeoutError: not done within {running.timeout:g} s"
    return f"{type(error).__name__}: {error}"


def _traceback(error: BaseException) -> str:
    """Return the traceback from the handler on: duly's own frames at its top say nothing."""
    if (remote := traceback_of(error)) is not None:
        return remote
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in _OWN_FRAMES:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames, limit=-30))
