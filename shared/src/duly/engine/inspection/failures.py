"""Failures grouped by what went wrong, so that ten thousand of one kind are one line."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from duly.clock import Clock, SystemClock
from duly.engine.inspection.fingerprints import fingerprint
from duly.engine.inspection.newest_failed import FAILED, List, NewestFailed
from duly.engine.inspection.tasks import Tasks
from duly.task import Task

DEFAULT_WINDOW = 10_000
SHOWN_HOURS = 24
"""Hours of which a group says how many failed in each."""
_ERROR_LIMIT: Final = 2_000
"""Characters of an error that a group shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A task that failed: `Tasks.get` shows it whole."""

    id: str
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failures that are likely one and the same."""

    fingerprint: str
    kind: str
    error: str
    """Of the newest one."""
    count: int
    first: datetime
    last: datetime
    queues: tuple[str, ...]
    example: Example
    """The newest one."""
    hours: tuple[int, ...] = ()
    """How many failed in each of the last 24 hours, oldest first; the last one is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Groups of failures, and how much of what there is they were made from."""

    groups: tuple[FailureGroup, ...]
    """The most frequent first."""
    scanned: int
    """Failed tasks that were looked at, the newest."""
    total: int
    """Failed tasks that there were."""
    unreadable: tuple[str, ...] = ()
    """Why queues were passed over."""


class Failures:
    """Archived and quarantined tasks, by what went wrong."""

    def __init__(
        self, tasks: Tasks, newest: NewestFailed | None = None, clock: Clock | None = None
    ) -> None:
        """Take what reads them.

        Args:
            tasks: Reads a list by itself.
            newest: Reads many at once; None: each is read by itself.
            clock: For tests.
        """
        self._tasks, self._newest, self._clock = tasks, newest, clock or SystemClock()

    async def survey(
        self,
        *,
        queues: Sequence[str] = (),
        window: int = DEFAULT_WINDOW,
        sizes: Mapping[List, int] | None = None,
    ) -> Survey:
        """Group the newest archived and quarantined tasks.

        Args:
            queues: Where to look; none: in every queue.
            window: Most tasks to look at, shared by the queues: one that is full of failures
                does not hide those of the others.
            sizes: How many each list has, where the caller knows it; None: it is read.

        Raises:
            NotFoundError: A named queue does not exist.
        """
        if sizes is None:
            sizes = await self._tasks.sizes(queues, FAILED)
        groups, scanned, unreadable = Tally(self._clock.now()), 0, dict[str, str]()
        async for task in self._each(queues, shares(sizes, window), unreadable):
            scanned += 1
            groups.add(task)
        return Survey(
            groups=groups.reports(),
            scanned=scanned,
            total=sum(sizes.values()),
            unreadable=tuple(unreadable.values()),
        )

    async def _each(
        self, queues: Sequence[str], most: dict[List, int], unreadable: dict[str, str]
    ) -> AsyncIterator[Task]:
        """Yield so many of each list: all lists that can be by few calls, the others one by one."""
        if self._newest is not None:
            rest: dict[List, int] = {}
            async for task in self._newest.tasks(most, rest):
                yield task
            most = dict.fromkeys(most, 0) | rest
        async for task in self._tasks.scan(queues, FAILED, unreadable=unreadable, most=most):
            yield task


class Tally:
    """Failures as they come, of which only what a report needs is kept: no task, no traceback."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._groups: dict[str, _Group] = {}

    def add(self, task: Task) -> None:
        """Count a failed task."""
        if task.ended_at is None:
            return
        name = fingerprint(task)
        group = self._groups.setdefault(name, _Group(task.ended_at, task.ended_at))
        group.count += 1
        group.hours[_hours_between(task.ended_at, self._now)] += 1
        group.queues.add(task.queue)
        group.first = min(group.first, task.ended_at)
        if group.example is None or task.ended_at > group.last:
            group.last, group.kind = task.ended_at, task.kind
            group.example = Example(id=task.id, queue=task.queue)
            group.error = task.history[0].error[:_ERROR_LIMIT] if task.history else ""

    def reports(self) -> tuple[FailureGroup, ...]:
        """Return the groups, the most frequent first."""
        reports = [
            FailureGroup(
                fingerprint=name,
                kind=group.kind,
                error=group.error,
                count=group.count,
                first=group.first,
                last=group.last,
                queues=tuple(sorted(group.queues)),
                example=group.example,
                hours=tuple(group.hours[ago] for ago in reversed(range(SHOWN_HOURS))),
            )
            for name, group in self._groups.items()
            if group.example is not None
        ]
        return tuple(
            sorted(reports, key=lambda group: (-group.count, group.kind, group.fingerprint))
        )


def shares(sizes: Mapping[List, int], window: int) -> dict[List, int]:
    """Divide a window among lists: what short ones do not need, the long ones get."""
    left, divided = window, dict[List, int]()
    for place, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        divided[name] = min(sizes[name], left // (len(sizes) - place))
        left -= divided[name]
    return divided


@dataclass(slots=True)
class _Group:
    """What is known so far of one group."""

    first: datetime
    last: datetime
    count: int = 0
    kind: str = ""
    error: str = ""
    hours: Counter[int] = field(default_factory=Counter)
    """How many hours ago → failures."""
    queues: set[str] = field(default_factory=set)
    example: Example | None = None


def _hours_between(instant: datetime, now: datetime) -> int:
    """Return how many hours ago an instant was, 0 within the last one or in the future."""
    return max(0, (now - instant) // timedelta(hours=1))
