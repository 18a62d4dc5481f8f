"""The history of a task as the broker keeps it: a line of JSON for each attempt that has ended."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from duly.clock import from_unix_ms
from duly.task import Attempt, AttemptOutcome

_TRACE_ID_LENGTH = 32
_MS = timedelta(milliseconds=1)


class AttemptRecord(msgspec.Struct):
    """One line of a task's history, as the scripts write it."""

    number: int
    outcome: str
    at: int
    duration: int = 0
    server: str = ""
    error: str = ""
    traceback: str = ""
    started: int = 0
    waiting: int = 0
    trace: str = ""


def attempts_of(history: bytes | None) -> tuple[Attempt, ...]:
    """Read a task's history, newest first; lines of another form are skipped."""
    found = []
    for line in (history or b"").splitlines():
        try:
            record = msgspec.json.decode(line, type=AttemptRecord)
            found.append(
                Attempt(
                    number=record.number,
                    outcome=AttemptOutcome(record.outcome),
                    at=from_unix_ms(record.at),
                    duration=record.duration * _MS,
                    server=record.server,
                    error=record.error,
                    traceback=record.traceback,
                    started_at=from_unix_ms(record.started) if record.started else None,
                    waiting_since=from_unix_ms(record.waiting) if record.waiting else None,
                    trace_id=record.trace[:_TRACE_ID_LENGTH],
                )
            )
        except (msgspec.DecodeError, ValueError, OverflowError, OSError):
            continue
    return tuple(found)


def success_of(attempts: Sequence[Attempt]) -> tuple[Attempt | None, tuple[Attempt, ...]]:
    """Return the attempt that succeeded, None: none, and the others."""
    success = next((each for each in attempts if each.outcome is AttemptOutcome.SUCCEEDED), None)
    others = tuple(each for each in attempts if each.outcome is not AttemptOutcome.SUCCEEDED)
    return success, others


def first_wait(success: Attempt | None, failures: Sequence[Attempt]) -> datetime | None:
    """Return when a task began to wait for its first attempt; None: that is not recorded."""
    first = failures[-1] if failures else success
    return first.waiting_since if first is not None and first.number == 1 else None
