"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
"""Where a frozen clock starts by default: a Monday at noon."""


class FrozenClock:
    """Implements `duly.clock.Clock`; time passes only through `advance` and `set`."""

    __slots__ = ("_elapsed", "_start")

    def __init__(self, start: datetime = START) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start {start} has no time zone: use an aware datetime, in UTC")
        self._start = start.astimezone(UTC)
        self._elapsed = timedelta(0)

    def now(self) -> datetime:
        """Return the current instant, aware, in UTC."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Return seconds since the clock was made."""
        return self._elapsed.total_seconds()

    def advance(self, by: timedelta | float) -> datetime:
        """Let time pass, a timedelta or seconds, and return the new now.

        Raises:
            ValueError: Time would go backwards.
        """
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if step < timedelta(0):
            raise ValueError(f"a clock cannot go backwards by {-step}")
        self._elapsed += step
        return self.now()

    def set(self, instant: datetime) -> None:
        """Let time pass until `instant`.

        Raises:
            ValueError: It is in the past.
        """
        self.advance(instant - self.now())
