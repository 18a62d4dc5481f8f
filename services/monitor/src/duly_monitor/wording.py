"""Numbers and times in words, for people who read them at night."""

from datetime import UTC, datetime, timedelta

NOTHING = "\N{EN DASH}"
"""Stands where there is nothing to tell."""

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


_OVERLAPS = {
    "skip": "skip the tick",
    "queue_one": "one more may wait",
    "allow": "enqueue anyway",
}
_CATCH_UPS = {"skip": "stays missed", "one": "the newest is made up for", "all": "is made up for"}


def overlap(policy: str) -> str:
    """Return what an entry does while the task of its last tick is on its way."""
    return _OVERLAPS.get(policy, policy)


def catch_up(policy: str) -> str:
    """Return what becomes of slots that nobody claimed in time."""
    return _CATCH_UPS.get(policy, policy)


def count(value: int) -> str:
    """Return a whole number with thousands set apart."""
    return f"{value:,}"


def duration(value: timedelta | None) -> str:
    """Return at most two units: `240 ms`, `4 min 12 s`, `3 d 4 h`; a dash for None."""
    if value is None:
        return NOTHING
    seconds = max(value.total_seconds(), 0.0)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    whole = int(seconds)
    for index, (size, unit) in enumerate(_STEPS):
        if whole < size:
            continue
        text = f"{whole // size:,} {unit}"
        if index + 1 < len(_STEPS):
            smaller, name = _STEPS[index + 1]
            rest = whole % size // smaller
            text += f" {rest} {name}" if rest else ""
        return text
    return "0 s"


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


def size(value: int) -> str:
    """Return a number of bytes in binary units, `1.5 KiB`."""
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 - the definition of the unit
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TiB"


def iso(at: datetime) -> str:
    """Return the instant in UTC as HTML's `datetime` attribute wants it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plural(number: int, singular: str, several: str = "") -> str:
    """Return the number with its noun: `1 task`, `1,240 tasks`."""
    return f"{number:,} {singular if number == 1 else several or singular + 's'}"
