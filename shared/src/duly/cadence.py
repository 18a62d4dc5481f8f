"""When an entry is due: once in each interval, or at the times of a cron expression.

Slots depend on the time alone, so that every replica finds the same ones.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Final, Protocol
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from duly.clock import from_unix_ms, to_ms, to_unix_ms
from duly.errors import ConfigError

NAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS: Final = 5
_LONGEST_EXPRESSION: Final = 120
_LONGEST_INTERVAL: Final = timedelta(days=3650)
_GRACE_MS: Final = 60_000
_MOST_COUNTED: Final = 10_000
_HOUR_MS: Final = 3_600_000
_FOLD_MS: Final = 3 * _HOUR_MS
_WINDOWS_MS: Final = tuple(hours * _HOUR_MS for hours in (1, 24, 8 * 24, 32 * 24, 366 * 24))
_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class Cadence(Protocol):
    """The slots of an entry, in ms since 1970."""

    @property
    def grace_ms(self) -> int:
        """How late a slot still counts as on time; 0: as long as it lasts."""

    @property
    def description(self) -> str:
        """What it is in plain English."""

    @property
    def notation(self) -> str:
        """How it is written down: another notation has other slots."""

    def around(self, at_ms: int) -> tuple[int, int]:
        """Return the newest slot at or before an instant (0: there was none), and the next."""

    def after(self, at_ms: int, count: int) -> list[int]:
        """Return the first `count` slots after an instant."""

    def between(self, after_ms: int, before_ms: int, most: int) -> tuple[int, list[int]]:
        """Count the slots strictly between two instants; return the newest `most`, oldest first."""


class Every:
    """Whole multiples of an interval since 1970: one tick in each, however late it begins."""

    grace_ms: Final = 0

    def __init__(self, interval: timedelta) -> None:
        self._ms = to_ms(interval)
        seconds = self._ms // 1000
        unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
        several = f"{seconds // size} {unit}s"
        self.description = "every " + (unit if seconds == size else several)
        self.notation = f"every {seconds} s"

    def around(self, at_ms: int) -> tuple[int, int]:
        """Return the slot that an instant is in, and the next."""
        slot = at_ms // self._ms * self._ms
        return slot, slot + self._ms

    def after(self, at_ms: int, count: int) -> list[int]:
        """Return the first `count` slots after an instant."""
        _, following = self.around(at_ms)
        return [following + step * self._ms for step in range(count)]

    def between(self, after_ms: int, before_ms: int, most: int) -> tuple[int, list[int]]:
        """Count the slots strictly between a claim and a slot; return the newest `most`."""
        count = max(0, (before_ms - after_ms) // self._ms - 1)
        return count, [before_ms - back * self._ms for back in range(min(count, most), 0, -1)]


class Cron:
    """The instants of five fields in a time zone; when clocks change, by Debian cron's rules.

    - Minute or hour begins with `*`: by elapsed time. The hour that is left out in spring has no
      slots, the one that comes twice in autumn has them twice.
    - Else by the wall clock: what falls into the hour that is left out is due once, right after
      it, and what falls into the hour that comes twice is due once, in the first of the two.
    """

    grace_ms: Final = _GRACE_MS

    def __init__(self, expression: str, zone: str) -> None:
        self._fields = NAMES.get(expression.strip().lower(), expression)
        self._zone: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
        minute, hour, *_ = self._fields.split()
        self._by_wall = not minute.startswith("*") and not hour.startswith("*")
        parsed = CronSim(self._fields, from_unix_ms(0).astimezone(self._zone))
        if next(parsed, None) is None:
            message = "it is never due"
            raise ValueError(message)
        self.description = f"{parsed.explain()} ({zone})"
        self.notation = " ".join((*self._fields.split(), zone))

    def around(self, at_ms: int) -> tuple[int, int]:
        """Return the newest slot at or before an instant (0: there was none), and the next."""
        for window in (*_WINDOWS_MS, at_ms):
            newest = 0
            for slot in self._slots(at_ms - window):
                if slot > at_ms:
                    if newest or window == at_ms:
                        return newest, slot
                    break
                newest = slot
        message = f"no slot comes after {at_ms}"
        raise OverflowError(message)

    def after(self, at_ms: int, count: int) -> list[int]:
        """Return the first `count` slots after an instant."""
        return list(islice(self._slots(at_ms), count))

    def between(self, after_ms: int, before_ms: int, most: int) -> tuple[int, list[int]]:
        """Count the slots strictly between two instants, up to about 10,000; return the newest.

        Looks back in growing windows: an outage of years costs no more than one of a week.
        """
        for window in (*_WINDOWS_MS, before_ms):
            start = max(after_ms, before_ms - window)
            newest, count = deque[int](maxlen=most), 0
            for slot in self._slots(start):
                if slot >= before_ms:
                    break
                newest.append(slot)
                count += 1
            if start == after_ms or count >= max(most, _MOST_COUNTED):
                break
        return count, list(newest)

    def _slots(self, after_ms: int) -> Iterator[int]:
        """Yield the slots after an instant, each once and growing."""
        # A walk by the wall clock that begins in an hour that comes twice cannot tell which of
        # the two it is in; begun before it, it can.
        begin_ms = max(0, after_ms - _FOLD_MS) if self._by_wall else after_ms
        last = after_ms
        for slot in CronSim(self._fields, from_unix_ms(begin_ms).astimezone(self._zone)):
            slot_ms = to_unix_ms(slot)
            if slot_ms > last:
                last = slot_ms
                yield slot_ms


@lru_cache(maxsize=4096)
def cadence_of(interval: timedelta | None, cron: str | None, timezone: str = "UTC") -> Cadence:
    """Return the cadence of an interval or of a cron expression in a time zone.

    Raises:
        ConfigError: Both or none are given, or one of them cannot be read; its path is the
            argument's name.
    """
    if (interval is None) == (cron is None):
        given = "neither interval nor cron is" if cron is None else "both interval and cron are"
        raise ConfigError("interval", f"{given} given", remedy="give one of them")
    if interval is not None:
        return _every(interval)
    return _cron(cron or "", timezone)


def _every(interval: timedelta) -> Every:
    whole = interval % timedelta(seconds=1) == timedelta(0)
    if not whole or not timedelta(seconds=1) <= interval <= _LONGEST_INTERVAL:
        problem = f"{interval} is not a number of whole seconds between 1 second and ten years"
        raise ConfigError("interval", problem, remedy="write 5s, 10m or 24h")
    return Every(interval)


def _cron(cron: str, timezone: str) -> Cron:
    shown = repr(cron[:_LONGEST_EXPRESSION])
    fields = NAMES.get(cron.strip().lower(), cron).split()
    if len(cron) > _LONGEST_EXPRESSION or len(fields) != _FIELDS:
        remedy = f"write minute hour day month weekday, such as 0 9 * * mon-fri; or {_names()}"
        raise ConfigError("cron", f"{shown} is not five fields", remedy=remedy)
    try:
        return Cron(cron, _zone(timezone))
    except (CronSimError, ValueError, AssertionError) as error:
        remedy = "write minute hour day month weekday, such as 0 9 * * mon-fri"
        raise ConfigError("cron", f"{shown} cannot be read: {error}", remedy=remedy) from None


def _zone(timezone: str) -> str:
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        close = get_close_matches(timezone[:64], available_timezones(), n=1)
        hint = f"did you mean {close[0]}?" if close else "write UTC or one such as Europe/Berlin"
        problem = f"there is no time zone {timezone[:64]!r}"
        raise ConfigError("timezone", problem, remedy=hint) from None
    return timezone


def _names() -> str:
    return ", ".join(NAMES)
