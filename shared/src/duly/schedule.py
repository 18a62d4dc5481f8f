"""A schedule entry: one line of the timetable, saying when a job is due."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from duly.job import Job


class Overlap(StrEnum):
    """What a tick does while the task of an earlier tick is still on its way."""

    SKIP = "skip"
    """Enqueue nothing; count the tick as skipped."""
    ALLOW = "allow"
    """Enqueue all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the timetable.

    Slots are whole multiples of `interval` since 1970 in the broker's time, so every replica
    and every restart agrees on them.
    """

    id: str
    """Stable: the claim of a tick and its history hang on it."""
    job: Job
    interval: timedelta
    """Whole seconds, one at least."""
    queue: str | None = None
    """None: the queue of the job's policy."""
    overlap: Overlap = Overlap.SKIP
