"""Retries: what becomes of a task whose attempt failed, and how long it waits for the next one.

`failure` and `cancelled` are the ways in: they decide, compute the wait, and return what the
broker is to write. Policies and exceptions are foreign code: whatever they do, there is an answer.
"""

import asyncio
import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import structlog

from duly.clock import from_unix_ms, to_ms
from duly.engine.middleware import Ended, Outcome
from duly.engine.storage.codec import ERROR_LIMIT, TRACEBACK_LIMIT, encode_attempt
from duly.engine.storage.delivery import tries_text
from duly.engine.storage.scripts import Settlement
from duly.engine.worker.attempt import RunningAttempt
from duly.engine.worker.processes.pool import HardTimeoutError
from duly.engine.worker.processes.remote_errors import traceback_of
from duly.engine.worker.settlements import attempted, record_of, replacement_of
from duly.errors import OutcomeSignal, Retry, Revoke, Skip, describe, shortened
from duly.job import Policy
from duly.task import AttemptOutcome

LONGEST_WAIT: Final = timedelta(days=36_500)
"""A longer wait, whoever asks for it, is this one: instants further away cannot be computed."""
CANCELLED: Final = "cancelled by an operator"
_OWN_FRAMES: Final = {
    "duly.engine.worker.runner",
    "duly.engine.worker.threads",
    "duly.runtime.returned",
}
_FRAMES: Final = 30
_DESTINATIONS: Final[dict[Outcome, Literal["retry", "archived", "dropped"]]] = {
    Outcome.UNCOUNTED: "retry",
    Outcome.RETRIED: "retry",
    Outcome.ARCHIVED: "archived",
    Outcome.REVOKED: "dropped",
}
_COUNTED: Final = {
    Outcome.UNCOUNTED: "uncounted",
    Outcome.RETRIED: "processed,failed",
    Outcome.ARCHIVED: "processed,failed,archived",
    Outcome.REVOKED: "processed",
}
Chance = Callable[[], float]
"""Gives a number in [0, 1)."""
_warned: set[Callable[..., Any]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An attempt that raised, so far as the task's fate depends on it."""

    error: BaseException
    policy: Policy
    attempts: int
    """Runs that count as failed, this one included."""
    max_attempts: int
    uncounted_failures: int = 0
    """Runs before this one that failed and did not count."""
    timed_out: bool = False
    expired: bool = False
    """The deadline of the whole task stopped it."""
    now_ms: int
    expires_ms: int = 0
    """The deadline of the whole task; 0: none."""
    wait: timedelta | None = None
    """Before the retry, where the handler has asked for one; None: what the policy says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of the task."""

    outcome: Outcome
    how: AttemptOutcome = AttemptOutcome.FAILED
    retry_in: timedelta | None = None
    """At least 0, at most `LONGEST_WAIT`."""
    note: str = ""
    """What is recorded beside the error."""


def failure(
    running: RunningAttempt, error: BaseException, *, now_ms: int, seconds: float, server: str
) -> tuple[Settlement, Ended]:
    """Return how to settle a task whose attempt raised `error`, and how the attempt ended."""
    context, delivery, told = running.context, running.delivery, _as_told(running, error)
    replacement = replacement_of(running)
    decision = decide(
        Failed(
            error=told,
            policy=running.job.policy,
            attempts=delivery.attempts + 1,
            max_attempts=context.max_attempts,
            uncounted_failures=delivery.uncounted_failures,
            timed_out=running.timed_out,
            expired=running.timed_out and running.ends_with_task,
            now_ms=now_ms,
            expires_ms=running.expires_ms,
            wait=replacement.wait if replacement else None,
        )
    )
    uncounted = decision.outcome is Outcome.UNCOUNTED
    record = record_of(
        running,
        decision.how,
        now_ms=now_ms,
        seconds=seconds,
        server=server,
        error=_noted(describe(told, ERROR_LIMIT), decision.note),
        traceback=traceback_text(error),
    )
    revoked = decision.outcome is Outcome.REVOKED
    # A member that is revoked never succeeds: what waits for all of its group is cancelled.
    join = running.flow.join if revoked and running.flow else None
    settlement = Settlement(
        stream_id=delivery.stream_id,
        id=running.message.task_id,
        kind=running.message.task_name,
        destination=_DESTINATIONS[decision.outcome],
        in_ms=to_ms(decision.retry_in) if decision.retry_in else 0,
        tries=tries_text(
            delivery.attempts + (not uncounted),
            delivery.crashes,
            delivery.uncounted_failures + uncounted,
        ),
        attempt=b"" if revoked else encode_attempt(record),
        lock=running.lock,
        outcomes=_COUNTED[decision.outcome],
        join_queue=join.queue if join else "",
        join=join.id if join else "",
        data=replacement.message
        if replacement and decision.retry_in is not None
        else attempted(running),
        reason=record.error[:ERROR_LIMIT] if decision.outcome is Outcome.ARCHIVED else "",
    )
    return settlement, Ended(context, decision.outcome, seconds, told, decision.retry_in)


def cancelled(running: RunningAttempt, *, now_ms: int, seconds: float, server: str) -> Settlement:
    """Return how to settle a task that an operator had cancelled."""
    delivery, attempts = running.delivery, running.delivery.attempts + 1
    why = CANCELLED
    record = record_of(
        running,
        AttemptOutcome.CANCELLED,
        now_ms=now_ms,
        seconds=seconds,
        server=server,
        error=why,
    )
    return Settlement(
        stream_id=delivery.stream_id,
        id=running.message.task_id,
        kind=running.message.task_name,
        destination=running.cancel_as or "archived",
        in_ms=to_ms(backoff(running.job.policy, attempts, asyncio.CancelledError(why))),
        tries=tries_text(attempts, delivery.crashes, delivery.uncounted_failures),
        attempt=encode_attempt(record),
        lock=running.lock,
        outcomes="processed,cancelled",
    )


def decide(failed: Failed) -> Decision:
    """Return what becomes of the task.

    What the handler asked for comes first; then the deadline of the whole task; then whether the
    kind's policy takes the error for a failure at all; then the number of attempts.
    """
    error = failed.error
    how = AttemptOutcome.TIMED_OUT if failed.timed_out else AttemptOutcome.FAILED
    if isinstance(error, Revoke):
        found = Decision(outcome=Outcome.REVOKED, how=how)
    elif isinstance(error, Skip):
        found = Decision(outcome=Outcome.ARCHIVED, how=AttemptOutcome.SKIPPED)
    elif failed.expired or 0 < failed.expires_ms <= failed.now_ms:
        found = Decision(outcome=Outcome.ARCHIVED, how=AttemptOutcome.EXPIRED)
    elif _is_uncounted(failed):
        wait = backoff(failed.policy, failed.uncounted_failures + 1, error)
        found = _in_time(failed, Outcome.UNCOUNTED, AttemptOutcome.UNCOUNTED, wait)
    elif failed.attempts >= failed.max_attempts:
        found = Decision(outcome=Outcome.ARCHIVED, how=how)
    else:
        wait, note = _retry_wait(failed)
        found = _in_time(failed, Outcome.RETRIED, how, wait, note)
    return found


def _retry_wait(failed: Failed) -> tuple[timedelta, str]:
    """Return the wait that the handler asked for, else the policy's; and what to note of it."""
    error = failed.error
    asked: object = error.after if isinstance(error, Retry) else failed.wait
    if isinstance(asked, timedelta):
        return _bounded(asked), ""
    note = "" if asked is None else "its `after` is not a timedelta: the policy's backoff applies"
    return backoff(failed.policy, failed.attempts, error), note


def _in_time(
    failed: Failed, outcome: Outcome, how: AttemptOutcome, wait: timedelta, note: str = ""
) -> Decision:
    """Retry after the wait, unless the deadline of the whole task comes first."""
    if 0 < failed.expires_ms <= failed.now_ms + to_ms(wait):
        note = f"no further attempt: its deadline {instant(failed.expires_ms)} comes first"
        return Decision(outcome=Outcome.ARCHIVED, how=how, note=note)
    return Decision(outcome=outcome, how=how, retry_in=wait, note=note)


def _is_uncounted(failed: Failed) -> bool:
    """Ask the policy whether the error is not the task's fault; within its bound."""
    policy, error = failed.policy, failed.error
    if policy.is_failure is None or isinstance(error, OutcomeSignal):
        return False
    if failed.uncounted_failures >= policy.max_uncounted_failures:
        return False
    try:
        return not policy.is_failure(error)
    except BaseException as broken:  # noqa: BLE001 - foreign code; the task must not hang on it
        warn_once(policy.is_failure, "is_failure failed, the error counts", describe(broken))
        return False


def backoff(
    policy: Policy, attempt: int, error: BaseException, chance: Chance = random.random
) -> timedelta:
    """Return the wait after the `attempt`-th failed attempt (1 for the first).

    `full_jitter` is uniform in [0, min(cap, base * 2^(attempt-1))], as in "Exponential Backoff
    And Jitter" (Marc Brooker, 2015); `asynq` is asynq's n^4 + 15 + rand(0..29) * (n + 1) seconds
    with n retries before; `constant` is the base; a function is called with the attempt and its
    error. None exceeds the cap but asynq's. A function that raises, or returns anything but a
    timedelta of 0 or more, is logged once, and full jitter takes its place.

    Returns:
        At least 0, at most `LONGEST_WAIT`.
    """
    if policy.backoff == "asynq":
        retries = attempt - 1
        seconds = retries**4 + 15 + int(chance() * 30) * (retries + 1)
        return timedelta(seconds=min(seconds, LONGEST_WAIT.total_seconds()))
    base, cap = _bounded(policy.backoff_base), _bounded(policy.backoff_cap)
    if policy.backoff == "constant":
        return min(base, cap)
    if callable(policy.backoff):
        wait = _policy_wait(policy.backoff, attempt, error)
        if wait is not None:
            return min(_bounded(wait), cap)
    doublings = min(attempt - 1, 40)  # beyond that every cap is reached and floats overflow
    ceiling = min(cap.total_seconds(), base.total_seconds() * 2**doublings)
    return timedelta(seconds=chance() * ceiling)


def _bounded(wait: timedelta) -> timedelta:
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def _policy_wait(
    function: Callable[[int, BaseException], timedelta], attempt: int, error: BaseException
) -> timedelta | None:
    """Return what a policy's own function answers; None when that is of no use."""
    try:
        wait: object = function(attempt, error)
    except BaseException as broken:  # noqa: BLE001 - foreign code; the task must not hang on it
        warn_once(function, "backoff failed, full jitter instead", describe(broken))
        return None
    if not isinstance(wait, timedelta):
        name = type(wait).__name__
        warn_once(function, "backoff is no timedelta, full jitter instead", name)
        return None
    if wait < timedelta(0):
        warn_once(function, "backoff is negative, full jitter instead", str(wait))
        return None
    return wait


def warn_once(function: Callable[..., Any], what: str, error: str) -> None:
    """Log that a policy's function is broken; once, not for each task that meets it."""
    if function not in _warned:
        _warned.add(function)
        name = getattr(function, "__qualname__", type(function).__name__)
        structlog.get_logger("duly.engine").error(
            f"Policy's {what}", function=name, error=error[:500]
        )


def instant(unix_ms: int) -> str:
    """Return an instant as people read it in an error."""
    return f"{from_unix_ms(unix_ms):%Y-%m-%dT%H:%M:%SZ}"


def _as_told(running: RunningAttempt, error: BaseException) -> BaseException:
    """Return the error as policies, hooks and the history are told of it.

    What a timeout has made a handler raise is caused by it, and no outcome of its own.
    """
    if not running.timed_out:
        return error
    if issubclass(type(error), HardTimeoutError):  # it may come before the timeout
        text = str(error)
    elif running.ends_with_task:
        text = f"not done by its deadline {instant(running.expires_ms)}"
    else:
        text = f"not done within {running.timeout:g} s"
    told = TimeoutError(text)
    told.__cause__ = error
    return told


def _noted(error: str, note: str) -> str:
    """Return the error with a note that is not cut off with it."""
    return f"{shortened(error, ERROR_LIMIT - len(note) - 3)} ({note})" if note else error


def traceback_text(error: BaseException) -> str:
    """Return the end of the traceback from the handler on, without duly's own frames at its top.

    At most as much as is kept: an error's text may take megabytes, which nobody is to look through.

    Never raises: formatting runs foreign code, such as `__notes__` and `__cause__`.
    """
    try:
        if (remote := traceback_of(error)) is not None:
            return remote
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_globals.get("__name__") in _OWN_FRAMES:
            frames = frames.tb_next
        lines = traceback.format_exception(type(error), error, frames, limit=-_FRAMES)
        return "".join(lines)[-TRACEBACK_LIMIT:]
    except BaseException as broken:  # noqa: BLE001 - see above
        return f"The traceback could not be formatted: {describe(broken)}"
