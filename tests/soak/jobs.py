"""The jobs of the soak: one kind for each thing that the engine promises."""

from datetime import timedelta

from duly import Aggregate, Job, Policy

QUICK = {"backoff_base": timedelta(milliseconds=50), "backoff_cap": timedelta(seconds=1)}
MOST_LIMITED = 2
KINDS_WITH_EFFECT = ("work", "unique", "limited", "merged", "tick")


class Work(Job, kind="work", policy=Policy(max_attempts=30, **QUICK)):
    """Takes a while, fails so many times, and then has an effect."""

    seconds: float = 0.0
    failures: int = 0


class Unique(Job, kind="unique", policy=Policy(unique_for=timedelta(minutes=10), **QUICK)):
    """Never runs beside another one of the same name."""

    name: str
    seconds: float = 0.05


class Limited(Job, kind="limited", policy=Policy(max_running=MOST_LIMITED, **QUICK)):
    """Runs twice at a time, across all workers."""

    seconds: float = 0.05


TERMS = Aggregate(grace=timedelta(seconds=1), max_delay=timedelta(seconds=3), max_size=20)


class Member(Job, kind="member", policy=Policy(aggregate=TERMS, **QUICK)):
    """Waits in a group until it becomes a part of a `Merged`."""

    name: str


class Merged(Job, kind="merged", policy=Policy(**QUICK)):
    """What members become."""

    names: tuple[str, ...]


class Tick(Job, kind="tick", policy=Policy(**QUICK)):
    """What the timetable enqueues every second."""
