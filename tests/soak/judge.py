"""The verdict: what the histories and the broker say of each promise."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from jobs import MOST_LIMITED, TERMS
from load import Promises

from duly.testing.history import Event, What

_TASK = re.compile(r"\bs\d{6}[^\s:,]*|soak@\S+")
LONGEST_MERGE = 5.0
"""Seconds from the end of a group's wait to the task that it becomes, with faults in between."""


@dataclass
class Verdict:
    """One line for each promise; empty where it was kept."""

    seed: int
    accepted: int = 0
    finished: int = 0
    attempts: int = 0
    faults: int = 0
    doubled: int = 0
    """Tasks with more than one effect: at least once is what is promised."""
    recovery: tuple[float, float] = (0.0, 0.0)
    """Median and longest, in seconds: from the fault that cut an attempt off to the next one."""
    excused: int = 0
    """Breaches that a replica which took over explains: it had not received the last moment."""
    slopes: dict[str, float] = field(default_factory=dict)
    """Growth of each resource in an hour."""
    broken: dict[str, list[str]] = field(default_factory=dict)

    def add(self, promise: str, names: list[str]) -> None:
        """Note in which cases a promise was broken."""
        if names:
            self.broken[promise] = names

    @property
    def good(self) -> bool:
        return not self.broken

    def stories(self, events: list[Event], *, most: int = 5) -> str:
        """Return what happened to the first tasks of which a promise was broken."""
        names = " ".join(name for cases in self.broken.values() for name in cases)
        tasks = list(dict.fromkeys(_TASK.findall(names)))[:most]
        return "\n".join(
            f"  {event.task} {event.at:.3f} {event.what} {event.process} {dict(event.facts)}"
            for task in tasks
            for event in events
            if event.task == task
        )

    def __str__(self) -> str:
        head = "GOOD" if self.good else "BROKEN"
        counts = (
            f"{self.faults} faults, {self.accepted} accepted, {self.finished} finished, "
            f"{self.attempts} attempts, {self.doubled} doubled"
        )
        recovery = "recovery {:.1f} s at the median, {:.1f} s at most".format(*self.recovery)
        lines = [f"{head}: seed {self.seed}, {counts}, {recovery}"]
        if self.excused:
            lines.append(f"  excused, because a replica took over: {self.excused}")
        if self.slopes:
            each = (f"{name} {slope:+.1f}" for name, slope in self.slopes.items())
            lines.append(f"  growth in an hour (memory in MiB): {', '.join(each)}")
        for promise, names in self.broken.items():
            more = "" if len(names) <= 10 else f" and {len(names) - 10} more"
            lines.append(f"  {promise} ({len(names)}): {', '.join(names[:10])}{more}")
        return "\n".join(lines)


class Losses:
    """Periods whose writes a replica that took over may not have received.

    It may be behind in what began or ended in such a period, and in the flows that this belongs to.
    """

    def __init__(
        self, periods: list[tuple[float, float]], events: list[Event], promises: Promises
    ) -> None:
        self._periods = periods
        self._tasks = {event.task for event in events if self.cover(event.at)}
        for flow, facts in promises.flows.items():
            tasks = {*facts["members"], *filter(None, [facts["then"]])}
            if tasks & self._tasks:
                self._tasks |= {flow, *tasks}

    def cover(self, begin: float, end: float | None = None, *, before: float = 0.0) -> bool:
        """Tell whether such a period has a part of this one."""
        last = begin if end is None else end
        return any(start - before <= last and begin <= over for start, over in self._periods)

    def touch(self, name: str) -> bool:
        """Tell whether a task or a flow has a part in such a period."""
        return name in self._tasks


def judge(
    seed: int,
    events: list[Event],
    promises: Promises,
    listed: dict[str, str],
    *,
    faults: int,
    losses: list[tuple[float, float]],
) -> Verdict:
    """Judge a run that has come to rest.

    Args:
        seed: Of the run.
        events: Of all processes.
        promises: What was accepted, beside the history.
        listed: Task id → its state, of all that is kept.
        faults: How many there were.
        losses: From when to when a replica may have missed what was accepted.
    """
    seen: defaultdict[str, Counter] = defaultdict(Counter)
    for event in events:
        seen[event.task][event.what] += 1
    accepted = {task for task, counts in seen.items() if counts[What.ENQUEUED]}
    accepted |= {task for task, counts in seen.items() if counts[What.TICK]}
    done = {task for task, counts in seen.items() if counts[What.END]}
    found = Verdict(
        seed=seed,
        accepted=len(accepted) + len(promises.members),
        finished=len(done),
        attempts=sum(counts[What.START] for counts in seen.values()),
        faults=faults,
        doubled=sum(counts[What.EFFECT] > 1 for counts in seen.values()),
        recovery=_recovery(events),
    )
    excuse = Losses(losses, events, promises)
    unfinished = {"archived", "quarantined", "completed"}
    found.add(
        "stuck",
        sorted(f"{task} is {state}" for task, state in listed.items() if state not in unfinished),
    )
    found.add(
        "given up",
        sorted(
            f"{task} is {state}"
            for task, state in listed.items()
            if state in {"archived", "quarantined"} and task not in promises.cancelled
        ),
    )
    found.add("ran twice in two places", _fenced_twice(events))
    # Each of these: name → what is wrong, where it may be explained by a replica that was behind.
    lost = accepted - done - set(listed) - promises.deleted
    twice = (task for task, counts in seen.items() if counts[What.TICK] > 1)
    checks: dict[str, list[tuple[bool, str]]] = {
        "lost": [(excuse.touch(task), task) for task in sorted(lost)],
        "flow out of order": [
            (excuse.touch(flow), f"{flow}: {wrong}")
            for flow, wrong in _flows(events, promises, done)
        ],
        "member not merged": _members(events, promises, set(listed), excuse),
        "two of one unique job at once": _unique(events, promises, excuse),
        "more than the limit at once": _limited(events, excuse),
        "slot claimed twice": [(excuse.touch(task), task) for task in sorted(twice)],
    }
    for promise, cases in checks.items():
        found.excused += sum(excused for excused, _ in cases)
        found.add(promise, [name for excused, name in cases if not excused])
    return found


def _recovery(events: list[Event]) -> tuple[float, float]:
    """Return the waits of tasks whose attempt was cut off by a kill, median and longest."""
    killed = {event.task: event.at for event in events if event.what is What.KILLED}
    stories: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        stories[event.task].append(event)
    waits = []
    for story in stories.values():
        starts = [event for event in story if event.what is What.START]
        for start, after in pairwise(starts):
            cut = killed.get(start.process)
            ended = any(
                event.process == start.process and event.what in {What.END, What.FAILED}
                for event in story
            )
            if cut is not None and not ended and after.at > cut > start.at:
                waits.append(after.at - cut)
    return (median(waits), max(waits)) if waits else (0.0, 0.0)


def _fenced_twice(events: list[Event]) -> list[str]:
    """Tasks that a worker which nothing had happened to ran after another one had ended them."""
    killed = {event.task for event in events if event.what is What.KILLED}
    ends: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.what is What.END and event.process not in killed:
            ends[event.task].add(event.process)
    return sorted(task for task, processes in ends.items() if len(processes) > 2)


Cases = list[tuple[bool, str]]
"""Of each case of a broken promise: whether it is excused, and its name."""


def _flows(events: list[Event], promises: Promises, done: set[str]) -> list[tuple[str, str]]:
    started: dict[str, float] = {}
    ended: dict[str, float] = {}
    for event in events:
        if event.what is What.START:
            started.setdefault(event.task, event.at)
        if event.what is What.END:
            ended.setdefault(event.task, event.at)
    wrong = []
    for flow, facts in promises.flows.items():
        members, then = facts["members"], facts["then"]
        pairs = [(each, then) for each in members] if then else list(pairwise(members))
        wrong += [
            (flow, f"{after} before {before}")
            for before, after in pairs
            if after in started and started[after] < ended.get(before, float("inf"))
        ]
        missing = [task for task in [*members, *filter(None, [then])] if task not in done]
        wrong += [(flow, f"{task} never ended") for task in missing[:1]]
    return wrong


def _members(events: list[Event], promises: Promises, listed: set[str], excuse: Losses) -> Cases:
    merged: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.what is What.EFFECT:
            for name in event.facts.get("names", ()):
                merged[name].add(event.task)
    missing = [member for member in promises.members if not merged[member] | ({member} & listed)]
    twice = [name for name, tasks in merged.items() if len(tasks) > 1]
    wrong = [(name, name) for name in sorted(missing)]
    wrong += [(name, f"{name} in {len(merged[name])} tasks") for name in sorted(twice)]
    wait = TERMS.max_delay.total_seconds() + LONGEST_MERGE
    return [
        (excuse.cover(at, before=wait) if (at := promises.members.get(name)) else True, text)
        for name, text in wrong
    ]


def _spans(events: list[Event], kind: str) -> list[tuple[float, float, str, str]]:
    """Return start, end, task and process of the attempts of a kind in undisturbed processes.

    An attempt whose outcome was refused is none: a machine that stalls costs a lease, too.
    """
    killed = {event.task for event in events if event.what is What.KILLED}
    refused = {(event.task, event.process) for event in events if event.what is What.REFUSED}
    opened: dict[tuple[str, str], float] = {}
    spans = []
    for event in events:
        key = (event.task, event.process)
        if event.process in killed or key in refused or event.facts.get("kind") != kind:
            continue
        if event.what is What.START:
            opened[key] = event.at
        elif event.what in {What.END, What.FAILED} and key in opened:
            spans.append((opened.pop(key), event.at, event.task, event.process))
    return sorted(spans)


def _unique(events: list[Event], promises: Promises, excuse: Losses) -> Cases:
    by_name: defaultdict[str, list] = defaultdict(list)
    for span in _spans(events, "unique"):
        by_name[promises.unique.get(span[2], "")].append(span)
    return [
        (excuse.cover(before[0], after[1]), f"{name}: {before[2]} and {after[2]}")
        for name, spans in by_name.items()
        for before, after in pairwise(spans)
        if before[2] != after[2] and after[0] < before[1]
    ]


def _limited(events: list[Event], excuse: Losses) -> Cases:
    spans = [span for span in _spans(events, "limited") if not excuse.cover(span[0], span[1])]
    changes = sorted([(start, 1) for start, *_ in spans] + [(end, -1) for _, end, *_ in spans])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return [(False, f"{most} at once")] if most > MOST_LIMITED else []
