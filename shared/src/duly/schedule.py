"""A schedule entry: one line of the timetable, saying when a job is due."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from duly.cadence import Cadence, cadence_of
from duly.errors import ConfigError, InvalidPayloadError
from duly.job import NAME_PATTERN, Job, is_name
from duly.payload import encode

MOST_CAUGHT_UP = 500
"""Most missed slots that one claim may make up for: more would hold up the broker's clients."""


class Overlap(StrEnum):
    """What a tick does while the task of an earlier tick has not ended."""

    SKIP = "skip"
    """Enqueue nothing; count the tick as skipped."""
    QUEUE_ONE = "queue_one"
    """Enqueue one more while the earlier one runs, and no third."""
    ALLOW = "allow"
    """Enqueue anyway."""


class CatchUp(StrEnum):
    """What happens to slots that no scheduler claimed in time."""

    SKIP = "skip"
    """Nothing; they are recorded as missed."""
    ONE = "one"
    """The newest of them is made up for, once."""
    ALL = "all"
    """Each is made up for, up to the entry's limit; the newest are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the timetable: an interval or a cron expression, and the job that is then due.

    Slots are found by the broker's time alone, so every replica and every restart agrees on them.
    An interval's are its whole multiples since 1970, each good for one tick as long as it lasts;
    one of a cron expression is missed when nobody has claimed it within a minute.
    """

    id: str
    """Keep it stable: claims and history are kept under it."""
    job: Job
    interval: timedelta | None = None
    """Whole seconds, one at least."""
    cron: str | None = None
    """Minute, hour, day of month, month, weekday; or @hourly, @daily, @weekly, …"""
    timezone: str = "UTC"
    """IANA name of the zone that `cron` is read in."""
    queue: str | None = None
    """None: the queue of the job's policy."""
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.SKIP
    catch_up_limit: int = 100
    """Slots that `CatchUp.ALL` makes up for at once, at most 500."""
    paused: bool = False
    """Its ticks enqueue nothing while the timetable says so."""

    def __post_init__(self) -> None:
        # A row of a database holds text. What is no member stays, and `check` refuses it.
        for name, choices in (("overlap", Overlap), ("catch_up", CatchUp)):
            given = getattr(self, name)
            if isinstance(given, str) and given in set(choices):
                object.__setattr__(self, name, choices(given))

    @property
    def cadence(self) -> Cadence:
        """When it is due.

        Raises:
            ConfigError: Interval, cron expression or time zone is wrong.
        """
        try:
            return cadence_of(self.interval, self.cron, self.timezone)
        except ConfigError as error:
            raise ConfigError(
                f"timetable entry {self.id}",
                f"{error.path}: {error.problem}",
                remedy=error.remedy,
            ) from None

    @property
    def target(self) -> str:
        """The queue that it enqueues to."""
        return self.queue or self.job.policy.queue

    @property
    def most_caught_up(self) -> int:
        """How many missed slots one claim may make up for."""
        return {CatchUp.SKIP: 0, CatchUp.ONE: 1, CatchUp.ALL: self.catch_up_limit}[self.catch_up]

    def check(self) -> None:
        """Return if the entry can be scheduled.

        Raises:
            ConfigError: It cannot; with the entry, the value and a remedy.
        """
        place = f"timetable entry {self.id}"
        self._check_types(place)
        if not is_name(self.id):
            raise ConfigError(place, "not an id", remedy=f"use {NAME_PATTERN}")
        if not is_name(self.target):
            raise ConfigError(
                place, f"queue: {self.target!r} is no name", remedy=f"use {NAME_PATTERN}"
            )
        try:
            encode(self.job)
        except InvalidPayloadError as error:
            raise ConfigError(place, str(error)) from None
        _ = self.cadence
        if not 1 <= self.catch_up_limit <= MOST_CAUGHT_UP:
            problem = f"catch_up_limit: {self.catch_up_limit} is not within 1 to {MOST_CAUGHT_UP}"
            raise ConfigError(place, problem, remedy="leave it out for 100")
        if self.catch_up is CatchUp.ALL and self.overlap is not Overlap.ALLOW:
            problem = f"catch_up: all enqueues several at once, overlap: {self.overlap} forbids it"
            raise ConfigError(place, problem, remedy="say overlap: allow, or catch_up: one")

    def _check_types(self, place: str) -> None:
        """Refuse values that a type checker would: entries may come from rows of a database."""
        for name, kind, wanted in _TYPES:
            value = getattr(self, name)
            if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
                continue
            what, _, example = wanted.partition(": ")
            problem = f"{name}: {value!r} is not {what}"
            raise ConfigError(place, problem, remedy=f"such as {example}" if example else "")


_TYPES: Final[tuple[tuple[str, Any, str], ...]] = (
    ("id", str, "a text: morning-report"),
    ("job", Job, "a job: send_invoice.job(7)"),
    ("interval", timedelta | None, "a timedelta: timedelta(seconds=5)"),
    ("cron", str | None, 'a text: "0 9 * * *"'),
    ("timezone", str, 'a text: "Europe/Berlin"'),
    ("queue", str | None, "a text: low"),
    ("overlap", Overlap, f"an overlap: {', '.join(Overlap)}"),
    ("catch_up", CatchUp, f"a way to catch up: {', '.join(CatchUp)}"),
    ("catch_up_limit", int, "a number: 100"),
    ("paused", bool, "True or False"),
)
"""Field, its type, and what to write."""
