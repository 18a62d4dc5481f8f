"""The health of queues and of what serves them, in words, and whether it needs attention."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from duly.engine.storage.reports import (
    BrokerReport,
    EntryReport,
    QueueReport,
    ServerReport,
    ServerStatus,
)
from duly.plurals import plural
from duly.quantities import about, size
from duly.task import TaskState

PATIENCE = timedelta(minutes=1)
"""A task that has waited longer than this means the queue is behind."""
FAILING_SHARE = 0.5
"""From this share of failures in the last minute on, a queue counts as failing."""
OVERDUE = timedelta(seconds=15)
"""An entry whose next tick nobody has claimed for this long has no scheduler."""
FULL_SHARE, NEARLY_FULL_SHARE = 0.95, 0.8
"""Of a broker's memory limit."""
_LATE = {
    TaskState.SCHEDULED: "a scheduled task is not enqueued",
    TaskState.RETRY: "a retry is not enqueued",
    TaskState.AGGREGATING: "a group is not merged",
}
"""What to say of a state in which something has been due for long."""
_NAMED = 3
"""So many are named; of the rest the number is told."""


class Level(StrEnum):
    """How much attention a queue needs; worst first."""

    BAD = "bad"
    WARN = "warn"
    NOTE = "note"
    OK = "ok"

    @property
    def rank(self) -> int:
        """Its position when sorted worst first."""
        return list(Level).index(self)


@dataclass(frozen=True, slots=True)
class Health:
    """The level and the sentence that explains it."""

    level: Level
    sentence: str


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that needs attention and is not of one queue."""

    health: Health
    topic: Literal["schedules", "servers", "broker"]
    """What shows more of it."""


def of_queue(queue: QueueReport, now: datetime) -> Health:
    """Return every fact about the queue, the most urgent first, and the level of that."""
    if queue.error:
        return Health(Level.BAD, queue.error)
    stopped = _stopped(queue, now)
    facts = [*([stopped] if stopped else _behind(queue)), *_troubled(queue)]
    if not facts:
        return _remembering(queue) or _fine(queue)
    if queue.archived:
        facts.append(Health(Level.NOTE, plural(queue.archived, "archived task")))
    facts.sort(key=lambda fact: fact.level.rank)
    return Health(facts[0].level, "; ".join(fact.sentence for fact in facts))


def overall(healths: dict[str, Health]) -> Health:
    """Sum up all queues in one line: the worst one by name, or that all are healthy."""
    if not healths:
        return Health(
            Level.NOTE, "No queues yet: nothing has been enqueued and no worker has started."
        )
    name, worst = min(healths.items(), key=lambda item: (item[1].level.rank, item[0]))
    troubled = [health for health in healths.values() if health.level.rank < Level.NOTE.rank]
    if not troubled:
        one = f"Queue {name} is healthy." if len(healths) == 1 else ""
        return Health(Level.OK, one or f"All {len(healths)} queues are healthy.")
    others = len(troubled) - 1
    verb = "needs" if others == 1 else "need"
    more = f" {plural(others, 'other queue')} {verb} attention." if others > 0 else ""
    return Health(worst.level, f"{name}: {worst.sentence}.{more}")


def around(
    entries: Sequence[EntryReport],
    servers: Sequence[ServerReport],
    brokers: Sequence[BrokerReport],
    now: datetime,
) -> list[Fact]:
    """Return what is wrong with schedulers, workers and the broker, worst first."""
    facts = [*_schedulers(entries, now), *_workers(servers, now), *_stuck(servers, now)]
    facts += [fact for broker in brokers for fact in _memory(broker)]
    return sorted(facts, key=lambda fact: fact.health.level.rank)


def fullness(used: int, limit: int) -> Level | None:
    """Return how much attention it needs that so much of a limit is used; None: none.

    Args:
        used: How much.
        limit: Of how much; 0: there is no limit.
    """
    if not limit or used < limit * NEARLY_FULL_SHARE:
        return None
    return Level.BAD if used >= limit * FULL_SHARE else Level.WARN


def is_overdue(entry: EntryReport, now: datetime) -> bool:
    """Tell whether a tick of an entry is due, and nobody has claimed it."""
    return not _is_paused(entry) and now - entry.next_slot > OVERDUE


def _is_paused(entry: EntryReport) -> bool:
    return entry.held or entry.paused_since is not None


def _schedulers(entries: Sequence[EntryReport], now: datetime) -> Iterable[Fact]:
    overdue = [entry for entry in entries if is_overdue(entry, now)]
    if not overdue:
        return
    longest = about(now - min(entry.next_slot for entry in overdue))
    if len(overdue) == sum(not _is_paused(entry) for entry in entries):
        entries_are = "entry is" if len(overdue) == 1 else "entries are"
        words = f"no scheduler is running: {len(overdue)} {entries_are} overdue, by up to {longest}"
        yield Fact(Health(Level.BAD, words), "schedules")
        return
    names = _named([entry.id for entry in overdue])
    words = f"overdue for up to {longest}: {names}"
    yield Fact(Health(Level.WARN, words), "schedules")


def _workers(servers: Sequence[ServerReport], now: datetime) -> Iterable[Fact]:
    lost = [server for server in servers if server.status is ServerStatus.LOST]
    if lost:
        since = about(now - max(server.beat_at for server in lost))
        hosts = _named([server.host for server in lost])
        words = f"{plural(len(lost), 'worker')} lost, no heartbeat for {since}: {hosts}"
        yield Fact(Health(Level.WARN, words), "servers")
    quiet = [server.host for server in servers if server.status is ServerStatus.QUIET]
    if quiet:
        words = f"told to take no tasks: {_named(quiet)}"
        yield Fact(Health(Level.NOTE, words), "servers")


def _stuck(servers: Sequence[ServerReport], now: datetime) -> Iterable[Fact]:
    stuck = [run for server in servers for run in server.running if run.stuck]
    if stuck:
        longest = about(now - min(run.started_at for run in stuck))
        ignore = "ignores" if len(stuck) == 1 else "ignore"
        words = (
            f"{plural(len(stuck), 'task')} {ignore} cancellation, for up to {longest}: "
            f"{_named(sorted({run.kind for run in stuck}))}"
        )
        yield Fact(Health(Level.WARN, words), "servers")


def _memory(broker: BrokerReport) -> Iterable[Fact]:
    used, limit = broker.memory_bytes or 0, broker.memory_limit_bytes or 0
    if (level := fullness(used, limit)) is not None:
        words = (
            f"broker {broker.address} uses {size(used)} of {size(limit)}; full, it refuses tasks"
        )
        yield Fact(Health(level, words), "broker")


def _named(names: Sequence[str]) -> str:
    shown, more = ", ".join(names[:_NAMED]), len(names) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def with_facts(queues: Health, facts: Sequence[Fact]) -> Health:
    """Put the worst fact before the summary of the queues, if it is worse than that."""
    if not facts or facts[0].health.level.rank >= min(queues.level.rank, Level.NOTE.rank):
        return queues
    worst = facts[0].health
    return Health(
        worst.level, f"{worst.sentence[:1].upper()}{worst.sentence[1:]}. {queues.sentence}"
    )


def _stopped(queue: QueueReport, now: datetime) -> Health | None:
    """Report a queue whose tasks nobody runs."""
    waiting = plural(queue.waiting, "task") + " waiting"
    waiting = waiting if queue.waiting else "nothing waiting"
    if queue.paused_since is not None:
        since = about(now - queue.paused_since)
        return Health(Level.WARN, f"paused for {since}, {waiting}")
    if queue.servers:
        return None
    if queue.waiting:
        oldest = about(queue.oldest_waiting)
        return Health(Level.BAD, f"no workers, {waiting}, the oldest for {oldest}")
    if queue.active:
        active = plural(queue.active, "task")
        return Health(Level.BAD, f"no live workers, the next one will recover {active}")
    return Health(Level.NOTE, "no workers, nothing waiting")


def _behind(queue: QueueReport) -> Iterable[Health]:
    """Report a queue that is served, but not fast enough."""
    if queue.oldest_waiting is not None and queue.oldest_waiting > PATIENCE:
        oldest = about(queue.oldest_waiting)
        waiting = plural(queue.waiting, "task")
        yield Health(Level.WARN, f"behind, {waiting} waiting, the oldest for {oldest}")


def _troubled(queue: QueueReport) -> Iterable[Health]:
    """Report what goes wrong with the tasks of a queue."""
    failed, processed = queue.failed_per_minute, queue.processed_per_minute
    if failed:
        level = Level.BAD if failed >= processed * FAILING_SHARE else Level.NOTE
        yield Health(level, f"{failed:,} of {processed:,} attempts failed in the last minute")
    for state, since in queue.overdue.items():
        if since > PATIENCE:
            yield Health(Level.WARN, f"{_LATE[state]}, though due for {about(since)}")
    if queue.quarantined:
        tasks = plural(queue.quarantined, "quarantined task")
        yield Health(Level.WARN, f"{tasks}: inspect, then run or delete")


def _remembering(queue: QueueReport) -> Health | None:
    """Report failures that are still archived."""
    if not queue.archived:
        return None
    return Health(Level.NOTE, f"healthy, {plural(queue.archived, 'archived task')}")


def _fine(queue: QueueReport) -> Health:
    if queue.waiting:
        waiting = plural(queue.waiting, "task")
        return Health(Level.OK, f"busy, {waiting} waiting for {about(queue.oldest_waiting)}")
    if queue.processed_per_minute:
        return Health(
            Level.OK, f"healthy, {queue.processed_per_minute:,} processed in the last minute"
        )
    return Health(Level.OK, "healthy, idle")
