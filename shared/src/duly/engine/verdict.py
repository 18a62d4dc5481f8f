"""What becomes of a task whose attempt failed: decided by the error, the policy and the counts."""

from dataclasses import dataclass
from datetime import timedelta

from duly.clock import from_unix_ms, to_ms
from duly.engine.backoff import backoff, complain_once
from duly.engine.middleware import Outcome
from duly.errors import OutcomeSignal, Retry, Revoke, Skip
from duly.job import Policy
from duly.task import AttemptOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An attempt that raised, so far as the task's fate depends on it."""

    error: BaseException
    policy: Policy
    attempts: int
    """Runs that count as failed, this one included."""
    max_attempts: int
    excuses: int = 0
    """Runs before this one that failed and did not count."""
    timed_out: bool = False
    expired: bool = False
    """It was stopped by the deadline of the whole task."""
    now_ms: int
    expires_ms: int = 0
    """The deadline of the whole task; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of the task."""

    outcome: Outcome
    how: AttemptOutcome = AttemptOutcome.FAILED
    retry_in: timedelta | None = None
    note: str = ""
    """What is to be said beside the error."""


def decide(failed: Failed) -> Verdict:
    """Return the verdict.

    What the handler asked for comes first; then the deadline of the whole task; then whether the
    kind's policy takes the error for a failure at all; then the number of attempts.
    """
    error = failed.error
    how = AttemptOutcome.TIMED_OUT if failed.timed_out else AttemptOutcome.FAILED
    if isinstance(error, Revoke):
        found = Verdict(outcome=Outcome.REVOKED, how=how)
    elif isinstance(error, Skip):
        found = Verdict(outcome=Outcome.ARCHIVED, how=AttemptOutcome.SKIPPED)
    elif failed.expired or 0 < failed.expires_ms <= failed.now_ms:
        found = Verdict(outcome=Outcome.ARCHIVED, how=AttemptOutcome.EXPIRED)
    elif _excused(failed):
        wait = backoff(failed.policy, failed.excuses + 1, error)
        found = _in_time(failed, Outcome.EXCUSED, AttemptOutcome.EXCUSED, wait)
    elif failed.attempts >= failed.max_attempts:
        found = Verdict(outcome=Outcome.ARCHIVED, how=how)
    else:
        asked = error.after if isinstance(error, Retry) else None
        wait = asked if asked is not None else backoff(failed.policy, failed.attempts, error)
        found = _in_time(failed, Outcome.RETRIED, how, wait)
    return found


def _in_time(failed: Failed, outcome: Outcome, how: AttemptOutcome, wait: timedelta) -> Verdict:
    """Retry after the wait, unless the deadline of the whole task comes first."""
    if 0 < failed.expires_ms <= failed.now_ms + to_ms(wait):
        note = f"no attempt more: its deadline {instant(failed.expires_ms)} comes first"
        return Verdict(outcome=Outcome.ARCHIVED, how=how, note=note)
    return Verdict(outcome=outcome, how=how, retry_in=wait)


def _excused(failed: Failed) -> bool:
    """Ask the policy whether the error is none of the task's doing; within its bound."""
    policy, error = failed.policy, failed.error
    if policy.is_failure is None or isinstance(error, OutcomeSignal):
        return False
    if failed.excuses >= policy.max_excuses:
        return False
    try:
        return not policy.is_failure(error)
    except Exception as broken:  # noqa: BLE001 - somebody's code; the task must not hang on it
        complain_once(policy.is_failure, "is_failure failed, the error counts", repr(broken))
        return False


def instant(unix_ms: int) -> str:
    """Return an instant as people read it in an error."""
    return f"{from_unix_ms(unix_ms):%Y-%m-%dT%H:%M:%SZ}"
