"""Records what really happened, one file of events for each process, and judges it.

Processes that may be killed at any moment append to files of their own and sync them, so that the
files show afterwards which promises were made and which were kept.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, Self

from typing_extensions import override

from duly.clock import Clock, SystemClock


class What(StrEnum):
    """The kinds of events."""

    ENQUEUED = "enqueued"
    """The client knows that the task is accepted."""
    UNCERTAIN = "uncertain"
    """The client got an error after which the task may exist or not."""
    START = "start"
    """A handler began an attempt."""
    EFFECT = "effect"
    """A handler had an effect that cannot be undone."""
    END = "end"
    """A handler returned."""
    FAILED = "failed"
    """A handler raised."""
    REFUSED = "refused"
    """The engine refused a worker's late finish."""
    TICK = "tick"
    """A scheduler claimed a slot: `task` is "entry@slot"."""
    KILLED = "killed"
    """The test killed a process: `task` is the name of its history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a history."""

    what: What
    task: str
    at: float
    """Seconds since 1970, by the clock of the process."""
    process: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class History:
    """Writes the events of one process. A line is on disk when `add` returns."""

    def __init__(
        self,
        folder: Path,
        *,
        process: str = "",
        clock: Clock | None = None,
        synced: bool = True,
    ) -> None:
        """Append to a file in `folder`, named by `process` (default: the process id).

        Without `synced`, a line survives the process but not the machine, and costs some
        microseconds instead of a millisecond: for histories of tens of thousands of events.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.process = process or str(os.getpid())
        self._clock, self._synced = clock or SystemClock(), synced
        self._descriptor = os.open(
            folder / f"{self.process}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
        )

    def add(self, what: What, task: str, **facts: object) -> None:
        """Append one event. Facts are JSON values."""
        at = self._clock.now().timestamp()
        row = {"what": what, "task": task, "at": at, "process": self.process, "facts": facts}
        os.write(self._descriptor, json.dumps(row).encode() + b"\n")
        if self._synced:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file. Idempotent: its descriptor may already belong to another file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(folder: Path) -> list[Event]:
    """Return the events of every file in `folder`, by time.

    A last line that a kill cut short is left out: it was never acknowledged.
    """
    events = []
    for path in sorted(folder.glob("*.jsonl")):
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        for line in whole.splitlines():
            row = json.loads(line)
            events.append(Event(**{**row, "what": What(row["what"])}))
    return sorted(events, key=lambda event: event.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which promises the histories show as kept; `str()` of it is a summary."""

    accepted: int
    finished: int
    lost: tuple[str, ...] = ()
    """Accepted, but neither finished nor still held by the engine."""
    doubled: Mapping[str, int] = field(default_factory=dict)
    """Task → number of its effects, where that is more than allowed."""
    late: Mapping[str, float] = field(default_factory=dict)
    """Task → seconds from its enqueueing or the kill to its next start, where too long."""
    doubled_ticks: Mapping[str, int] = field(default_factory=dict)
    """entry@slot → number of its claims, where that is more than one."""
    unexpected: tuple[str, ...] = ()
    """Started, although nobody enqueued them."""
    starts: int = 0
    refused: int = 0
    longest_wait: float = 0.0
    """The longest time from an enqueueing or a kill to the next start of the task, in seconds."""
    recoveries: tuple[float, ...] = ()
    """Seconds from each kill that cut an attempt off to the task's next start; shortest first."""

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        broken = (self.lost, self.doubled, self.late, self.doubled_ticks, self.unexpected)
        return not any(broken)

    @override
    def __str__(self) -> str:
        counts = (
            f"{self.accepted} accepted, {self.finished} finished, {self.starts} starts, "
            f"{self.refused} late finishes refused, longest wait {self.longest_wait:.2f} s"
        )
        lines = [("GOOD: " if self.good else "BROKEN: ") + counts]
        for name in ("lost", "doubled", "late", "doubled_ticks", "unexpected"):
            found = getattr(self, name)
            if found:
                lines.append(f"  {name} ({len(found)}): {_some(found)}")
        return "\n".join(lines)


def verdict(
    events: Iterable[Event],
    *,
    still_listed: Iterable[str] = (),
    most_effects: int = 1,
    longest: timedelta | None = None,
) -> Verdict:
    """Judge the histories of all processes of a run.

    Args:
        events: As returned by `read`.
        still_listed: Ids of tasks that the engine still holds, in any state.
        most_effects: Effects a task may have: 1, and 1 more for each possible crash.
        longest: The longest time allowed from an enqueueing or a kill to the next start.
    """
    stories: dict[str, list[Event]] = defaultdict(list)
    killed_at: dict[str, float] = {}
    for event in events:
        if event.what is What.KILLED:
            killed_at[event.task] = event.at
        else:
            stories[event.task].append(event)
    seen = {task: Counter(event.what for event in story) for task, story in stories.items()}
    accepted = {task for task, counts in seen.items() if counts[What.ENQUEUED]}
    known = accepted | {task for task, counts in seen.items() if counts[What.UNCERTAIN]}
    finished = {task for task, counts in seen.items() if counts[What.END]}
    recoveries = {task: list(_recoveries(stories[task], killed_at)) for task in known}
    waits = {
        task: max([*_first_waits(stories[task]), *recoveries[task]], default=0.0) for task in known
    }
    limit = longest.total_seconds() if longest is not None else float("inf")
    return Verdict(
        accepted=len(accepted),
        finished=len(finished),
        lost=tuple(sorted(accepted - finished - set(still_listed))),
        doubled={t: n[What.EFFECT] for t, n in seen.items() if n[What.EFFECT] > most_effects},
        late={task: wait for task, wait in waits.items() if wait > limit},
        doubled_ticks={task: n[What.TICK] for task, n in seen.items() if n[What.TICK] > 1},
        unexpected=tuple(sorted(t for t, n in seen.items() if n[What.START] and t not in known)),
        starts=sum(counts[What.START] for counts in seen.values()),
        refused=sum(counts[What.REFUSED] for counts in seen.values()),
        longest_wait=max(waits.values(), default=0.0),
        recoveries=tuple(sorted(chain.from_iterable(recoveries.values()))),
    )


def _first_waits(story: list[Event]) -> Iterator[float]:
    """Yield how many seconds a task waited for its first start after it was enqueued."""
    starts = [event for event in story if event.what is What.START]
    for event in story:
        if event.what in {What.ENQUEUED, What.UNCERTAIN} and starts:
            yield max(0.0, starts[0].at - event.at)


def _recoveries(story: list[Event], killed_at: Mapping[str, float]) -> Iterator[float]:
    """Yield how many seconds a task waited for its next start after each kill."""
    starts = [event for event in story if event.what is What.START]
    for begun in starts:
        cut = killed_at.get(begun.process)
        ended = any(
            event.what in {What.END, What.FAILED}
            and event.process == begun.process
            and event.at >= begun.at
            for event in story
        )
        if cut is None or ended:
            continue
        for again in starts:
            if again.at > cut:
                yield again.at - cut
                break


def _some(found: Mapping[str, Any] | tuple[str, ...], most: int = 10) -> str:
    """List the first few."""
    rows = (
        [f"{name} ({value:g})" for name, value in found.items()]
        if isinstance(found, Mapping)
        else list(found)
    )
    return ", ".join(rows[:most]) + (", …" if len(rows) > most else "")
