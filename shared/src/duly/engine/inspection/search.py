"""What a search looks for, and what it finds: tasks by kind, error, payload and time."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from typing_extensions import override

from duly.engine.inspection.fingerprints import fingerprint
from duly.engine.storage.reports import QueueReport
from duly.task import Task, TaskState

DEFAULT_WINDOW = 100_000
FOUND_BYTES = 64 * 1024 * 1024
"""A search ends once what it has found takes so much."""
SEARCHED = (
    TaskState.ARCHIVED,
    TaskState.QUARANTINED,
    TaskState.RETRY,
    TaskState.SCHEDULED,
    TaskState.AGGREGATING,
    TaskState.WAITING,
    TaskState.ACTIVE,
    TaskState.COMPLETED,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search has come to."""

    state: TaskState
    queue: str
    cursor: str | None
    """Of the list of this state and queue; None: its beginning."""

    @override
    def __str__(self) -> str:
        return f"{self.state.value}/{self.queue}/{self.cursor or ''}"

    @classmethod
    def of(cls, text: str) -> "Place":
        """Read the text of a place.

        Raises:
            ValueError: It is none.
        """
        state, _, rest = text.partition("/")
        queue, slash, cursor = rest.partition("/")
        if not slash:
            raise ValueError(f"not a cursor: {text[:80]!r}")
        return cls(TaskState(state), queue, cursor or None)


def lists_from(
    place: Place | None, queues: Sequence[str], states: Sequence[TaskState], *, named: bool
) -> list[Place]:
    """Return the lists that a search looks at from a place on, in its order.

    Args:
        place: Where it goes on; None: at the beginning.
        queues: Their names; sorted, unless `named`.
        states: The states, in their order.
        named: Whether the queues were asked for by name. Others may come and go meanwhile.

    Raises:
        ValueError: The place is in no such list.
    """
    lists = [Place(state, queue, None) for state in states for queue in queues]
    if place is None:
        return lists
    if place.state not in states or (named and place.queue not in queues):
        raise ValueError(f"not a cursor of this search: {str(place)[:80]!r}")
    rank = queues.index(place.queue) if named else bisect_left(queues, place.queue)
    rest = lists[states.index(place.state) * len(queues) + rank :]
    return [place, *rest[1:]] if place.queue in queues else rest


def sizes_in(
    reports: Iterable[QueueReport], states: Sequence[TaskState]
) -> dict[tuple[str, TaskState], int]:
    """Return how many tasks each queue that can be read has in each state."""
    return {
        (report.name, state): getattr(report, state.value)
        for report in reports
        if not report.error
        for state in states
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for; everything that is given must hold."""

    queues: tuple[str, ...] = ()
    """Empty: every queue."""
    states: tuple[TaskState, ...] = SEARCHED
    id: str = ""
    """The whole id. Then no list is looked at: the queues are asked for it."""
    kind: str = ""
    error: str = ""
    """Part of the last attempt's error, in whatever case."""
    cause: str = ""
    """Fingerprint of the last failure: those of one group."""
    group: str = ""
    """Group that the task waits in, as `kind:name`."""
    text: str = ""
    """Part of the id, the kind or the last attempt's error, in whatever case."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Payload field (dots go deeper) → the text of its value."""
    since: datetime | None = None
    until: datetime | None = None
    as_shown: Callable[[Task], Task] | None = field(default=None, compare=False)
    """Gives a task as it is shown to who searches: errors and payloads are found only by what is
    in that, too, so that a search tells nothing that is hidden. None: nothing is."""
    as_of: datetime | None = None
    """Leaves out what has failed, ended or begun to wait later, as the broker's clock says."""

    def matches(self, task: Task) -> bool:
        """Tell whether a task, in one of the queues and states, is one of those."""
        if not (self._names(task) and self._is_in_time(task) and self._finds(task)):
            return False
        if self.as_shown is None or not (self.error or self.text or self.fields):
            return True
        # Last, for it costs more than all else: of what is found, not of what is looked at.
        return self._finds(self.as_shown(task))

    def _names(self, task: Task) -> bool:
        return (
            (not self.id or task.id == self.id)
            and (not self.kind or task.kind == self.kind)
            and (not self.group or _group(task) == self.group)
            and (not self.cause or fingerprint(task) == self.cause)
        )

    def _finds(self, task: Task) -> bool:
        last = task.history[0].error if task.history else ""
        if self.error and not _contains(last, self.error):
            return False
        if self.text and not any(_contains(it, self.text) for it in (task.id, task.kind, last)):
            return False
        return all(_value(task.payload, path) == text for path, text in self.fields.items())

    def _is_in_time(self, task: Task) -> bool:
        if self.as_of is not None and (_came_at(task) or self.as_of) > self.as_of:
            return False
        instant = task.ended_at or task.due_at or task.enqueued_at
        return _within(instant, self.since, self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found."""

    tasks: tuple[Task, ...]
    scanned: int
    """Tasks that were looked at."""
    total: int
    """Tasks that there were to look at, when the search began."""
    complete: bool
    """False: a bound was reached, or a queue could not be read; there may be more."""
    unreadable: tuple[str, ...] = ()
    """Why queues were passed over."""
    next_cursor: str | None = None
    """Where the same search goes on; None: there is nothing more to look at."""


def size_of(task: Task) -> int:
    """Return about how many bytes a task takes: its payload, its history and its result."""
    texts = sum(len(attempt.error) + len(attempt.traceback) for attempt in task.history)
    return texts + len(msgspec.json.encode((task.payload, task.result)))


def _contains(text: str, part: str) -> bool:
    return part.casefold() in text.casefold()


def _came_at(task: Task) -> datetime | None:
    """Return when a task came to be as it is; None: not known, as of scheduled ones."""
    if task.state is TaskState.RETRY:
        return task.history[0].at if task.history else None
    return task.ended_at or task.enqueued_at


def _group(task: Task) -> str:
    """Return the group that a task has joined; "" where it has none, or a stranger wrote it."""
    label = task.labels.get("group")
    return str(label[0]) if isinstance(label, list) and label else ""


def _value(payload: Mapping[str, Any], path: str) -> str | None:
    value: Any = payload
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _within(instant: datetime | None, since: datetime | None, until: datetime | None) -> bool:
    if instant is None:
        return since is None and until is None
    return (since is None or instant >= since) and (until is None or instant <= until)
