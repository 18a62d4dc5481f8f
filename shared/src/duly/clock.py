"""The only reader of this machine's time. Leases and slots go by the broker's time instead."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


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

    def monotonic(self) -> float:
        """Return seconds from an arbitrary point; never goes back."""
        return time.monotonic()


def to_unix_ms(instant: datetime) -> int:
    """Return whole milliseconds since 1970, as the broker stores instants."""
    return round(instant.timestamp() * 1000)


def from_unix_ms(unix_ms: int) -> datetime:
    """Return the aware UTC instant of whole milliseconds since 1970."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def to_ms(duration: timedelta) -> int:
    """Return a duration in whole milliseconds."""
    return round(duration.total_seconds() * 1000)
