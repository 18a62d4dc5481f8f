"""What queues did in the last days and months, of which what is over is read once and kept.

An hour that is over does not change, and neither does a day. So whoever draws a chart of three days
each second reads one hash a queue, and not 73.
"""

from array import array
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from duly.clock import from_unix_ms, to_unix_ms
from duly.engine.inspection.counters import MINUTE_MS
from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.storage.concurrent import AT_ONCE, concurrently
from duly.engine.storage.decoding import text_map
from duly.engine.storage.keys import QueueKeys, queue_keys
from duly.engine.storage.reports import MinuteReport, QueueReport
from duly.errors import BrokerDownError, DulyError

KEPT_HOURS: Final = 72
KEPT_DAYS: Final = 90
_TEN_MS, _HOUR_MS, _DAY_MS = 10 * MINUTE_MS, 3_600_000, 86_400_000
_LATE_MS: Final = MINUTE_MS
"""An attempt may be written down so long after it ended."""
_PLACES: Final = {"processed": 0, "failed": 1}
Counts = Sequence[int]
"""Processed and failed, in turns, of each step of an hour or of a day."""


@dataclass(frozen=True, slots=True)
class Course:
    """What some queues did in a span."""

    points: Sequence[MinuteReport] = ()
    """Of all together, oldest first: each holds what was done from its instant on for one step.
    Of hours, a step that is not over is none of them: it would look like a drop."""
    sums: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Queue → processed and failed from the first point until now, the step that is not over
    included; nothing of one that cannot be read."""


class History:
    """Reads courses. One object keeps the hours and days that are over, of ten minutes each."""

    def __init__(self, known: KnownQueues) -> None:
        self._store = known.store
        self._hours = _Kept(known, _hour_of, _tens_in, most=KEPT_HOURS + 1)
        self._days = _Kept(known, _day_of, _day_in, most=KEPT_DAYS + 1)

    def forget(self, queue: str) -> None:
        """Read a queue anew: it was removed, and another may get its name."""
        self._hours.forget(queue)
        self._days.forget(queue)

    async def hours(
        self,
        queues: Sequence[str],
        *,
        hours: int,
        step: timedelta,
        minutes: Mapping[str, Sequence[MinuteReport]] | None = None,
    ) -> Course:
        """Return what queues did in the last hours; the points without the step that is not over.

        Args:
            queues: Their names.
            hours: How many, 1 to 72.
            step: What one point stands for: some times ten minutes.
            minutes: What each did in the last 61 minutes, where that is known; queues that it
                does not name are forgotten. None: it is read, for few queues.

        Raises:
            BrokerDownError: The broker does not answer.
        """
        now_ms = self._store.now_ms()
        hour, per = now_ms // _HOUR_MS, step // timedelta(milliseconds=_TEN_MS)
        ended = now_ms // _TEN_MS // per * per
        first = ended - hours * 6
        wanted = range(first // 6, hour + 1)
        newest = None if minutes is None else _by_hour(minutes)
        found = await self._hours.read(queues, wanted, (now_ms - _LATE_MS) // _HOUR_MS, newest)
        return _course(found, wanted.start * 6, range(first, ended), per, _TEN_MS)

    async def days(
        self,
        queues: Sequence[str],
        *,
        days: int = KEPT_DAYS,
        reports: Iterable[QueueReport] | None = None,
    ) -> Course:
        """Return what queues did in the last days of UTC, today included.

        Args:
            queues: Their names.
            days: How many, 1 to 90.
            reports: What each did today, where that is known; queues that it does not name are
                forgotten. None: it is read.

        Raises:
            BrokerDownError: The broker does not answer.
        """
        now_ms = self._store.now_ms()
        today = now_ms // _DAY_MS
        wanted = range(today - days + 1, today + 1)
        newest = None if reports is None else _by_day(reports, today)
        found = await self._days.read(queues, wanted, (now_ms - _LATE_MS) // _DAY_MS, newest)
        return _course(found, wanted.start, wanted, 1, _DAY_MS)


_Newest = Mapping[str, Mapping[int, Counts]]
"""Queue → number of an hour or a day that is not over → its counts."""


class _Kept:
    """Hours or days of queues, by their number since 1970."""

    def __init__(
        self,
        known: KnownQueues,
        key: Callable[[QueueKeys, int], str],
        read: Callable[[Any], Counts],
        *,
        most: int,
    ) -> None:
        self._known, self._key, self._parse, self._most = known, key, read, most
        self._over: dict[int, dict[str, Counts]] = {}

    def forget(self, queue: str) -> None:
        for counts in self._over.values():
            counts.pop(queue, None)

    async def read(
        self, queues: Sequence[str], wanted: range, over: int, newest: _Newest | None
    ) -> Mapping[str, Sequence[Counts]]:
        """Return the counts of those queues that can be read.

        Args:
            queues: Their names.
            wanted: The numbers.
            over: The first number that may still change.
            newest: Counts of those that may.
        """
        self._over = {
            number: counts if newest is None else _only(counts, newest)
            for number, counts in self._over.items()
            if number > wanted.stop - 1 - self._most
        }
        calls: list[Awaitable[Sequence[Counts]]] = [
            self._queue(name, wanted, over, None if newest is None else newest[name])
            for name in queues
            if newest is None or name in newest
        ]
        names = [name for name in queues if newest is None or name in newest]
        found: dict[str, Sequence[Counts]] = {}
        for start in range(0, len(calls), AT_ONCE):
            answers = await concurrently(calls[start : start + AT_ONCE])
            for name, answer in zip(names[start : start + AT_ONCE], answers, strict=True):
                if isinstance(answer, BrokerDownError):
                    raise answer
                if not isinstance(answer, DulyError):
                    found[name] = answer
        return found

    async def _queue(
        self, name: str, wanted: range, over: int, newest: Mapping[int, Counts] | None
    ) -> Sequence[Counts]:
        """Return the counts of one queue in the order of the numbers."""
        kept = self._over
        known = {
            number: kept[number][name]
            for number in wanted
            if number in kept and name in kept[number]
        }
        lacking = [number for number in wanted if number not in known]
        if newest is not None:
            # What began less than an hour ago is known whole; what ended a while ago is not.
            known |= {number: newest.get(number, _NOTHING) for number in lacking if number >= over}
            lacking = [number for number in lacking if number < over]
        if lacking:
            read = await self._known.report(await self._keys(name, newest), self._reader(lacking))
            for number, counts in zip(lacking, read, strict=True):
                known[number] = counts
                if number < over:
                    self._over.setdefault(number, {})[name] = counts
        return [known[number] for number in wanted]

    async def _keys(self, name: str, newest: Mapping[int, Counts] | None) -> QueueKeys:
        """Return the keys of a queue, which exists if somebody has read it just now."""
        return await self._known.keys(name) if newest is None else queue_keys(name)

    def _reader(self, numbers: Sequence[int]) -> Callable[[QueueKeys], Awaitable[list[Counts]]]:
        async def read(keys: QueueKeys) -> list[Counts]:
            calls = [("HGETALL", self._key(keys, number)) for number in numbers]
            return [self._parse(each) for each in await self._known.store.connection.many(calls)]

        return read


_NOTHING: Final[Counts] = array("Q")
"""Stands for any number of zeros: most hours of most queues are empty."""


def _only(counts: dict[str, Counts], queues: _Newest) -> dict[str, Counts]:
    return (
        counts
        if counts.keys() <= queues.keys()
        else {name: each for name, each in counts.items() if name in queues}
    )


def _hour_of(keys: QueueKeys, number: int) -> str:
    return keys.hour(number * _HOUR_MS)


def _day_of(keys: QueueKeys, number: int) -> str:
    return keys.day(number * _DAY_MS)


def _tens_in(answer: Any) -> Counts:  # noqa: ANN401 - what the broker says
    """Read `minute:kind:outcome` → count."""
    counts = array("Q", bytes(8 * 12))
    for name, value in text_map(answer).items():
        minute, _, rest = name.partition(":")
        place = _PLACES.get(rest.rpartition(":")[2])
        if place is not None and minute.isdecimal():
            counts[int(minute) // 10 * 2 + place] += int(value)
    return counts if any(counts) else _NOTHING


def _day_in(answer: Any) -> Counts:  # noqa: ANN401 - what the broker says
    """Read `kind:outcome` → count."""
    counts = array("Q", bytes(8 * 2))
    for name, value in text_map(answer).items():
        place = _PLACES.get(name.rpartition(":")[2])
        if place is not None:
            counts[place] += int(value)
    return counts if any(counts) else _NOTHING


def _by_hour(queues: Mapping[str, Sequence[MinuteReport]]) -> _Newest:
    """Sum up minutes by ten, for those queues that could be read."""
    return {name: _tens_of(minutes) for name, minutes in queues.items() if minutes}


def _tens_of(minutes: Sequence[MinuteReport]) -> Mapping[int, Counts]:
    first, found = to_unix_ms(minutes[0].at) // MINUTE_MS, dict[int, "array[int]"]()
    for number, minute in enumerate(minutes, first):
        if minute.processed or minute.failed:
            counts = found.setdefault(number // 60, array("Q", bytes(8 * 12)))
            place = number % 60 // 10 * 2
            counts[place] += minute.processed
            counts[place + 1] += minute.failed
    return found


def _by_day(reports: Iterable[QueueReport], today: int) -> _Newest:
    return {
        each.name: {today: array("Q", (each.processed_today, each.failed_today))}
        for each in reports
        if not each.error
    }


def _course(
    queues: Mapping[str, Sequence[Counts]], start: int, shown: range, per: int, step_ms: int
) -> Course:
    """Sum up.

    Args:
        queues: Queue → counts, one after the other.
        start: The number of the first step of these.
        shown: The numbers of the steps that are shown; later ones are in the sums only.
        per: How many make a point.
        step_ms: What each of them stands for.
    """
    if not queues:
        return Course()
    points, sums = [[0, 0] for _ in shown[::per]], dict[str, tuple[int, int]]()
    for name, counted in queues.items():
        total, number = [0, 0], start
        size = 6 if step_ms == _TEN_MS else 1
        for counts in counted:
            for place, count in enumerate(counts):
                step = number + place // 2
                if not count or step < shown.start:
                    continue
                total[place % 2] += count
                if step < shown.stop:
                    points[(step - shown.start) // per][place % 2] += count
            number += size
        sums[name] = (total[0], total[1])
    return Course(
        [
            MinuteReport(at=from_unix_ms(step * step_ms), processed=processed, failed=failed)
            for step, (processed, failed) in zip(shown[::per], points, strict=True)
        ],
        sums,
    )
