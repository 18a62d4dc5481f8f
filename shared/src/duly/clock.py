"""The only reader of this machine's time. Leases and slots go by the broker's time instead."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_000


class Clock(Protocol):
    """What needs the time is given a clock; tests give a frozen one."""

    def now(self) -> datetime:
        """Return the current instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary point; never goes back."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the current instant, aware, in UTC."""
        return datetime.now(UTC)

    # The function itself, since a method around it is one more call for each task that ends.
    monotonic = staticmethod(time.monotonic)


def to_unix_ms(instant: datetime) -> int:
    """Return whole milliseconds since 1970, as the broker stores instants."""
    return round(instant.timestamp() * 1000)


def from_unix_ms(unix_ms: float) -> datetime:
    """Return the aware UTC instant of milliseconds since 1970.

    What is beyond the years that a datetime has is their first or last second: what the broker
    holds may say anything.
    """
    return datetime.fromtimestamp(min(max(unix_ms, _FIRST_MS), _LAST_MS) / 1000, UTC)


def to_ms(duration: timedelta) -> int:
    """Return a duration in whole milliseconds."""
    return round(duration.total_seconds() * 1000)
