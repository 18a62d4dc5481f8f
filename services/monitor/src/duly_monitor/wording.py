"""Numbers and times in words, for people who read them at night."""

from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from duly.quantities import NOTHING, duration

_MOST_MS = 2**47
_DURATION = TypeAdapter(timedelta | None)


_OVERLAPS = {
    "skip": "skip the tick",
    "queue_one": "enqueue at most one",
    "allow": "enqueue anyway",
}
_CATCH_UPS = {"skip": "skip", "one": "run the newest", "all": "run all"}


def overlap(policy: str) -> str:
    """Return what an entry does while the task of its last tick has not ended."""
    return _OVERLAPS.get(policy, policy)


def catch_up(policy: str) -> str:
    """Return what happens to slots that no scheduler claimed in time."""
    return _CATCH_UPS.get(policy, policy)


def count(value: int) -> str:
    """Return a whole number with thousands set apart."""
    return f"{value:,}"


def relative(at: datetime, now: datetime) -> str:
    """Return `3 min 5 s ago`, `in 5 s` or `now`; from ten minutes on only the larger unit."""
    distance = at - now
    size = abs(distance)
    if size < timedelta(seconds=1):
        return "now"
    words = duration(size)
    if size >= timedelta(minutes=10):
        words = " ".join(words.split()[:2])
    return f"in {words}" if distance > timedelta(0) else f"{words} ago"


def iso(at: datetime) -> str:
    """Return the instant in UTC as HTML's `datetime` attribute wants it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sentence(text: str) -> str:
    """Return a text with a capital letter at its beginning, and the rest as it is."""
    return text[:1].upper() + text[1:]


def duration_ms(value: object) -> str:
    """Return a number of ms in words; a dash for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST_MS:
        return NOTHING
    return duration(timedelta(milliseconds=value))


def iso_duration(value: object) -> str:
    """Return a duration of ISO 8601, as policies are published, in words; a dash for None."""
    try:
        return duration(_DURATION.validate_python(value))
    except (ValidationError, OverflowError):
        return NOTHING
