"""Durations as people write them: `250ms`, `5s`, `2m`, `1h`, `7d`."""

import re
from datetime import timedelta
from typing import Any, Final

_DURATION: Final = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?\s*$")
_UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}


def parse_duration(value: Any) -> Any:  # noqa: ANN401 - whatever YAML or a variable holds
    """Turn `5`, `5s`, `250ms`, `2m`, `1h` or `7d` into a timedelta; leave the rest to pydantic."""
    match = _DURATION.match(str(value)) if isinstance(value, str | int | float) else None
    if match is None:
        return value
    try:
        return float(match[1]) * _UNITS[match[2] or "s"]
    except OverflowError:
        return value


def write_duration(value: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads as this duration, to the millisecond."""
    unit = next((unit for unit, size in _UNITS.items() if value and not value % size), "s")
    return f"{value / _UNITS[unit]:.15g}{unit}"
