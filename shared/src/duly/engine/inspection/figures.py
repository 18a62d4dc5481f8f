"""The figures of all queues and of the broker, as the metrics have them: one call a queue."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, starmap
from typing import Any

from duly.engine.inspection.brokers import Brokers
from duly.engine.inspection.known_queues import (
    KnownQueues,
    UnreadableQueueError,
    misfit,
    misfits,
)
from duly.engine.storage import scripts
from duly.engine.storage.decoding import DUE_STATES, text_map, texts
from duly.engine.storage.keys import QueueKeys
from duly.engine.storage.reports import BrokerReport
from duly.engine.storage.store import Store
from duly.task import TaskState

_MS = 1000
_MOST = 1000
"""Limited kinds and entries of a queue, whose own keys are looked at."""
_SIZES = (
    TaskState.SCHEDULED,
    TaskState.RETRY,
    TaskState.ARCHIVED,
    TaskState.COMPLETED,
    TaskState.QUARANTINED,
    TaskState.AGGREGATING,
)
"""As queue_figures.lua has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """One queue at one instant, by the broker's clock."""

    tasks: Mapping[TaskState, int]
    """Tasks in each state."""
    unowned: int = 0
    """Active tasks whose server has no live lease: they are about to be recovered."""
    oldest_waiting_seconds: float = 0.0
    """Age of the task that has waited longest; 0 when none waits."""
    paused_seconds: float | None = None
    """Since when it is paused; None: it is not."""
    servers: int = 0
    """Live workers that serve it."""
    concurrency: int = 0
    """Tasks that those workers may run at once."""
    outbox: int = 0
    """Successors and reports on their way to other queues."""
    joins: int = 0
    """Tasks that wait for the members of a group."""
    overdue_seconds: Mapping[TaskState, float] = field(default_factory=dict)
    """Scheduled, retry, aggregating → how long the first of them has been due; 0: none is."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """What the scripts have counted since the queue exists, such as `processed` and `failed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All queues and nodes at one instant."""

    queues: Mapping[str, QueueFigures]
    """Queue → figures, of those whose figures can be read."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Queue → which of its keys hold what is not duly's, and what to do; it may have figures."""
    nodes: Sequence[BrokerReport] = ()
    """The nodes of the broker that hold queues."""


async def read_figures(store: Store) -> Figures:
    """Read everything: one call a queue and one a node, all under way at the same time.

    One more call for a queue with limits of kinds or entries of the timetable, which have keys of
    their own.

    Raises:
        BrokerError: The broker does not answer.
    """
    known, odd = KnownQueues(store), dict[str, str]()

    async def one(keys: QueueKeys) -> QueueFigures | None:
        call = scripts.queue_figures(keys, at_ms=store.now_ms())
        wrong, figures, limited, entries = await store.run(call)
        of_each = _keys_of_each(keys, texts(limited), texts(entries))
        found = [
            *starmap(misfit, map(texts, wrong)),
            *(await misfits(store, of_each) if of_each else ()),
        ]
        if found:
            odd[keys.name] = str(UnreadableQueueError(keys.name, "; ".join(found)))
        return figures_of(figures) if figures else None

    answers = await known.each(one)
    odd |= {name: str(error) for name, error in answers.unreadable.items()}
    return Figures(
        queues={name: found for name, found in sorted(answers.read.items()) if found},
        unreadable=dict(sorted(odd.items())),
        nodes=await Brokers(known).list(),
    )


def _keys_of_each(
    keys: QueueKeys, limited: Iterable[str], entries: Iterable[str]
) -> dict[str, str]:
    """Return key → its type, of the keys that each limited kind and each entry has."""
    kinds = {field.rpartition(":")[0] for field in islice(limited, _MOST)}
    return {
        **{key: "zset" for kind in kinds for key in (keys.permits(kind), keys.parked(kind))},
        **{keys.tick_history(entry): "stream" for entry in islice(entries, _MOST)},
    }


def figures_of(answer: Sequence[Any]) -> QueueFigures:
    """Read the figures in the answer of queue_figures.lua."""
    *numbers, overdue, sizes, outcomes = answer
    length, delivered, unowned, oldest, paused, servers, concurrency, outbox, joins = numbers
    active = min(delivered, length)
    return QueueFigures(
        tasks={
            TaskState.WAITING: length - active,
            TaskState.ACTIVE: active,
            **dict(zip(_SIZES, sizes, strict=True)),
        },
        unowned=unowned,
        oldest_waiting_seconds=max(0, oldest) / _MS,
        paused_seconds=None if paused < 0 else paused / _MS,
        servers=servers,
        concurrency=concurrency,
        outbox=outbox,
        joins=joins,
        overdue_seconds={
            state: since / _MS for state, since in zip(DUE_STATES, overdue, strict=True)
        },
        outcomes=text_map(outcomes),
    )
