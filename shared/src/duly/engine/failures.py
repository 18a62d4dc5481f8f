"""Failures grouped by what went wrong, so that ten thousand of one kind are one line.

The fingerprint is of the task's kind, the exception's class and the innermost frame of the
handler's own code; where there is no traceback, of the message with what varies taken out. That is
the order in which Sentry groups, too: stack, then exception, then message.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from duly.engine.inspector import Inspector
from duly.engine.search import count, scan
from duly.task import Task, TaskState

DEFAULT_WINDOW = 10_000
_FAILED: Final = (TaskState.ARCHIVED, TaskState.QUARANTINED)
_VERSION: Final = "1"
"""Part of every fingerprint: a better algorithm must not mix its groups with the old one's."""
_FRAME = re.compile(r'File "([^"]+)", line \d+, in (\S+)')
_VARIES = (
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE), "<uuid>"),
    (re.compile(r"0x[0-9a-f]+", re.IGNORECASE), "<address>"),
    (re.compile(r"'[^']*'|\"[^\"]*\""), "<text>"),
    (re.compile(r"\S+@\S+"), "<e-mail>"),
    (re.compile(r"\d+(?:\.\d+)*"), "<number>"),
)
_LIBRARY = ("site-packages", "dist-packages", "/lib/python", "<frozen")


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
    example: Task
    """The newest one."""


def fingerprint(task: Task) -> str:
    """Return the fingerprint of a task's last failure: 16 hexadecimal digits."""
    if not task.history:
        return _digest(task.kind, "", "")
    last = task.history[0]
    name, _, message = last.error.partition(":")
    return _digest(task.kind, name, _innermost(last.traceback) or normalised(message))


def normalised(message: str) -> str:
    """Return a message with what varies from one failure to the next taken out."""
    for pattern, name in _VARIES:
        message = pattern.sub(name, message)
    return message.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Groups of failures, and how much of what there is they were made from."""

    groups: tuple[FailureGroup, ...]
    """The most frequent first."""
    scanned: int
    """Failed tasks that were looked at, the newest."""
    total: int
    """Failed tasks that there were."""


async def survey(
    inspector: Inspector, *, queues: tuple[str, ...] = (), window: int = DEFAULT_WINDOW
) -> Survey:
    """Group the newest archived and quarantined tasks.

    Args:
        inspector: Where to look.
        queues: None: every queue.
        window: Most tasks to look at.

    Raises:
        NotFoundError: A named queue does not exist.
    """
    total = await count(inspector, queues, _FAILED)
    tasks: list[Task] = []
    async for task in scan(inspector, queues, _FAILED):
        if len(tasks) >= window:
            break
        tasks.append(task)
    return Survey(groups=tuple(grouped(tasks)), scanned=len(tasks), total=total)


async def failure_groups(
    inspector: Inspector, *, queues: tuple[str, ...] = (), window: int = DEFAULT_WINDOW
) -> list[FailureGroup]:
    """Return the groups of `survey`."""
    return list((await survey(inspector, queues=queues, window=window)).groups)


def grouped(tasks: Iterable[Task]) -> list[FailureGroup]:
    """Group tasks by their fingerprint, the most frequent group first."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        if task.ended_at is not None:
            groups.setdefault(fingerprint(task), []).append(task)
    reports = [_report(name, members) for name, members in groups.items()]
    return sorted(reports, key=lambda group: (-group.count, group.kind, group.fingerprint))


def _report(name: str, members: list[Task]) -> FailureGroup:
    ends = [task.ended_at for task in members if task.ended_at is not None]
    newest = max(members, key=lambda task: (task.ended_at is not None, task.ended_at))
    return FailureGroup(
        fingerprint=name,
        kind=newest.kind,
        error=newest.history[0].error if newest.history else "",
        count=len(members),
        first=min(ends),
        last=max(ends),
        queues=tuple(sorted({task.queue for task in members})),
        example=newest,
    )


def _innermost(traceback: str) -> str:
    """Return file and function of the innermost frame that is not a library's."""
    for path, function in reversed(_FRAME.findall(traceback)):
        if not any(mark in path for mark in _LIBRARY):
            return f"{path.rsplit('/', 1)[-1]}:{function}"
    return ""


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join((_VERSION, *parts)).encode()).hexdigest()[:16]
