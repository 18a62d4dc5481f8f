"""The newest failed tasks of many queues, by few calls of a script.

Of each task comes what it is grouped by: no counts, no result. Where a script may not run, where a
queue cannot be read, and where its tasks are large, they are read list by list instead.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from duly.clock import LAST_MS
from duly.engine.inspection.known_queues import KnownQueues
from duly.engine.storage import scripts
from duly.engine.storage.decoding import task_from, texts
from duly.engine.storage.keys import queue_keys
from duly.task import Task, TaskState

FAILED: Final = (TaskState.ARCHIVED, TaskState.QUARANTINED)
List = tuple[str, TaskState]
"""The tasks of one queue in one state."""
_PER_CALL: Final = 1_000
"""Tasks in one call, which holds the broker up for a few ms."""
_MOST_BYTES: Final = 4 * 1024 * 1024
_COLUMNS: Final = 4
"""Of a task in an answer."""


class NewestFailed:
    """Reads failed tasks of all queues."""

    def __init__(self, known: KnownQueues) -> None:
        self._known = known

    async def tasks(self, most: Mapping[List, int], rest: dict[List, int]) -> AsyncIterator[Task]:
        """Yield the newest tasks of lists.

        Args:
            most: How many of each list.
            rest: Gets those lists of which none was yielded and that must be read by themselves.

        Raises:
            BrokerDownError: The broker does not answer.
        """
        for part in _parts(most):
            answers = await self._asked(part, most)
            for name, answer in zip(part, answers, strict=True):
                lists = [None, None] if answer is None else answer
                for state, found in zip(FAILED, lists, strict=True):
                    if found is None or found[0]:
                        rest[name, state] = most.get((name, state), 0)
                        continue
                    for task in _tasks(name, state, found[1:]):
                        yield task

    async def _asked(self, names: Sequence[str], most: Mapping[List, int]) -> Sequence[Any]:
        """Return what the script says of each queue, None where it says nothing."""
        limits = ([most.get((name, state), 0) for state in FAILED] for name in names)
        queues = [
            (queue_keys(name), archived, quarantined)
            for name, (archived, quarantined) in zip(names, limits, strict=True)
        ]
        call = scripts.newest_failed(queues, most_bytes=_MOST_BYTES)
        return await self._known.at_once(call, len(names))


def _parts(most: Mapping[List, int]) -> list[list[str]]:
    """Divide the queues that have failed tasks among calls."""
    sizes: dict[str, int] = {}
    for (name, _), count in most.items():
        sizes[name] = sizes.get(name, 0) + count
    parts, size = list[list[str]](), _PER_CALL
    for name, count in sizes.items():
        if not count:
            continue
        if size + count > _PER_CALL:
            parts.append([])
            size = 0
        parts[-1].append(name)
        size += count
    return parts


def _tasks(queue: str, state: TaskState, flat: Sequence[Any]) -> list[Task]:
    """Read the tasks of one list."""
    tasks = []
    for start in range(0, len(flat), _COLUMNS):
        task_id, score, message, history = flat[start : start + _COLUMNS]
        at = float(score)
        task = task_from(
            queue=queue,
            task_id=texts([task_id])[0],
            state=state,
            data=message,
            history=history,
            score_ms=at if 0 <= at <= LAST_MS else None,
        )
        tasks.append(task)
    return tasks
