"""The only reader of this machine's time. Leases and slots use the broker's time instead."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

LAST_MS = 253_402_300_799_000
"""The last second that a datetime can hold, in ms since 1970."""
_FIRST_MS = -62_135_596_800_000


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


class NaiveDatetimeError(ValueError):
    """A datetime without a time zone: it names no instant."""


def to_unix_ms(instant: datetime) -> int:
    """Return whole milliseconds since 1970, as the broker stores instants.

    Raises:
        NaiveDatetimeError: It has no time zone, and would mean something else on each machine.
    """
    # A zone that knows no offset makes a datetime naive, too; `timestamp` is then local time.
    if instant.tzinfo is not UTC and instant.utcoffset() is None:
        raise NaiveDatetimeError(
            f"{instant.isoformat()} has no time zone: pass an aware datetime, such as "
            "datetime.now(UTC)"
        )
    return round(instant.timestamp() * 1000)


def from_unix_ms(unix_ms: float) -> datetime:
    """Return the aware UTC instant of milliseconds since 1970.

    What is beyond the years that a datetime has is their first or last second, and what is not a
    number is their first: what the broker holds may say anything.
    """
    if 0 <= unix_ms <= LAST_MS:
        return datetime.fromtimestamp(unix_ms / 1000, UTC)
    # In this order, since a comparison with NaN is always false.
    return datetime.fromtimestamp(min(LAST_MS, max(_FIRST_MS, unix_ms)) / 1000, UTC)


def to_ms(duration: timedelta) -> int:
    """Return a duration in whole milliseconds."""
    return round(duration.total_seconds() * 1000)
