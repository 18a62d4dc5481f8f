"""Durations and sizes in words, for people who read them at night."""

from datetime import timedelta

NOTHING = "\N{EN DASH}"
"""Shown where there is no value."""

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


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


def about(value: timedelta | None) -> str:
    """Return the larger unit only, `4 min`: a sentence need not change each second."""
    return " ".join(duration(value).split()[:2])


def milliseconds(value: timedelta | None) -> str:
    """Return a short time with the digits that matter, `0.42 ms`; a dash for None."""
    if value is None:
        return NOTHING
    amount = value / timedelta(milliseconds=1)
    return f"{amount:.2f} ms" if amount < 10 else f"{amount:,.0f} ms"  # noqa: PLR2004 - two digits


def size(value: int) -> str:
    """Return a number of bytes in binary units, `1.5 KiB`."""
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 - the definition of the unit
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TiB"
