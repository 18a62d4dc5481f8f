"""How a queue is, in one sentence, and whether somebody should look at it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from duly.engine.reports import QueueReport
from duly_monitor.wording import duration, plural

PATIENCE = timedelta(minutes=1)
"""A task that has waited longer than this means the queue is behind."""
FAILING_SHARE = 0.5
"""From this share of failures in the last minute on, a queue counts as failing."""


class Level(StrEnum):
    """How much a queue needs somebody; worst first."""

    BAD = "bad"
    WARN = "warn"
    NOTE = "note"
    OK = "ok"

    @property
    def rank(self) -> int:
        """Its place when the worst comes first."""
        return list(Level).index(self)


@dataclass(frozen=True, slots=True)
class Health:
    """The level and the sentence that explains it."""

    level: Level
    sentence: str


def of_queue(queue: QueueReport, now: datetime) -> Health:
    """Return the most pressing thing that can be said of the queue."""
    return _stopped(queue, now) or _troubled(queue) or _remembering(queue) or _fine(queue)


def overall(healths: dict[str, Health]) -> Health:
    """Sum up all queues in one line: the worst by name, or that all is well."""
    if not healths:
        return Health(Level.NOTE, "No queue yet: nothing was enqueued and no worker has started.")
    name, worst = min(healths.items(), key=lambda item: (item[1].level.rank, item[0]))
    troubled = [health for health in healths.values() if health.level.rank < Level.NOTE.rank]
    if not troubled:
        one = f"Queue {name} is healthy." if len(healths) == 1 else ""
        return Health(Level.OK, one or f"All {len(healths)} queues are healthy.")
    others = len(troubled) - 1
    more = f" {plural(others, 'other queue')} needs a look too." if others == 1 else ""
    more = f" {plural(others, 'other queue')} need a look too." if others > 1 else more
    return Health(worst.level, f"{name}: {worst.sentence}.{more}")


def _stopped(queue: QueueReport, now: datetime) -> Health | None:
    """Tell of a queue from which nothing is taken."""
    waiting = plural(queue.waiting, "task") + (" waits" if queue.waiting == 1 else " wait")
    waiting = waiting if queue.waiting else "nothing waits"
    if queue.paused_since is not None:
        since = duration(now - queue.paused_since)
        return Health(Level.WARN, f"paused for {since}, {waiting}")
    if queue.servers:
        return None
    if queue.waiting:
        oldest = duration(queue.oldest_waiting)
        return Health(Level.BAD, f"no worker serves it, {waiting}, the oldest for {oldest}")
    if queue.active:
        active = plural(queue.active, "task")
        return Health(Level.BAD, f"no worker is alive, {active} will be taken over by the next one")
    return Health(Level.NOTE, "no worker serves it, nothing waits")


def _troubled(queue: QueueReport) -> Health | None:
    """Tell of a queue that runs, but not well."""
    failed, processed = queue.failed_per_minute, queue.processed_per_minute
    if failed and failed >= processed * FAILING_SHARE:
        return Health(Level.BAD, f"{failed:,} of {processed:,} attempts failed in the last minute")
    if queue.oldest_waiting is not None and queue.oldest_waiting > PATIENCE:
        oldest = duration(queue.oldest_waiting)
        waiting = plural(queue.waiting, "task")
        return Health(Level.WARN, f"behind, {waiting} waiting, the oldest for {oldest}")
    if queue.quarantined:
        messages = plural(queue.quarantined, "message")
        return Health(Level.WARN, f"{messages} in quarantine, not understood by any worker")
    if failed:
        return Health(Level.NOTE, f"{failed:,} of {processed:,} attempts failed in the last minute")
    return None


def _remembering(queue: QueueReport) -> Health | None:
    """Tell of what went wrong earlier and still lies there."""
    if not queue.archived:
        return None
    return Health(Level.NOTE, f"running well, {plural(queue.archived, 'task')} failed earlier")


def _fine(queue: QueueReport) -> Health:
    if queue.waiting:
        waiting = plural(queue.waiting, "task")
        return Health(Level.OK, f"busy, {waiting} waiting for {duration(queue.oldest_waiting)}")
    if queue.processed_per_minute:
        return Health(Level.OK, f"healthy, {queue.processed_per_minute:,} done in the last minute")
    return Health(Level.OK, "healthy, idle")
