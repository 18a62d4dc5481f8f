"""Tasks as lists and pages show them: with what their kind, their server and their payload add."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import RunningTask
from duly.task import Task, TaskState
from duly_monitor.redaction import SHOWN_CHARACTERS, mask, shorten
from duly_monitor.timeline import ended_at, most_runs, runs_of

_KEPT_SECONDS: Final = 10.0
_CELL: Final = 60
"""Characters of a payload's value in a column."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task of a list."""

    task: Task
    runs: int
    most: int
    """0: not known."""
    at: datetime | None
    """What its list is ordered by: due, enqueued, running since or ended."""
    running: RunningTask | None
    values: tuple[str, ...]
    """Of the columns of its payload."""


class Rows:
    """Makes rows; remembers for ten seconds the policies of the kinds that were shown."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._policies: dict[str, Mapping[str, Any]] = {}
        self._read_at = -_KEPT_SECONDS

    async def of(self, tasks: Sequence[Task], columns: Sequence[str] = ()) -> list[TaskRow]:
        """Return tasks as rows, in their order."""
        policies = await self.policies(task.kind for task in tasks)
        active = any(task.state is TaskState.ACTIVE for task in tasks)
        running = await self.running() if active else {}
        return [
            self._row(
                task, policies.get(task.kind, {}), running.get((task.queue, task.id)), columns
            )
            for task in tasks
        ]

    async def policies(self, kinds: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
        """Return kind → its policy; an empty one of a kind that is not published."""
        now, wanted = time.monotonic(), set(kinds)
        if now - self._read_at >= _KEPT_SECONDS:
            self._policies, self._read_at = {}, now
        kept = self._policies
        missing = wanted - kept.keys()
        if missing:
            found = await self._inspector.kinds.policies(missing)
            kept.update({kind: found.get(kind, {}) for kind in missing})
        return kept

    async def running(self) -> dict[tuple[str, str], RunningTask]:
        """Return what servers say they run, by queue and id."""
        servers = (await self._inspector.overview.recent()).servers
        return {(each.queue, each.id): each for server in servers for each in server.running}

    def _row(
        self,
        task: Task,
        policy: Mapping[str, Any],
        running: RunningTask | None,
        columns: Sequence[str],
    ) -> TaskRow:
        hidden = mask(task.payload) if columns else {}
        return TaskRow(
            task,
            runs_of(task),
            most_runs(task, policy),
            _instant(task, policy, running),
            running,
            tuple(_cell(hidden, column) for column in columns),
        )


def _instant(task: Task, policy: Mapping[str, Any], running: RunningTask | None) -> datetime | None:
    if task.state in {TaskState.SCHEDULED, TaskState.RETRY}:
        return task.due_at
    if task.state is TaskState.ACTIVE:
        return running.started_at if running else None
    return ended_at(task, policy) or task.enqueued_at


def _cell(payload: Any, path: str) -> str:  # noqa: ANN401 - any JSON value
    """Return the text of a payload's field, dots going deeper; "" where there is none."""
    for part in path.split("."):
        if not isinstance(payload, Mapping) or part not in payload:
            return ""
        payload = payload[part]
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return shorten(text[:SHOWN_CHARACTERS], _CELL)
