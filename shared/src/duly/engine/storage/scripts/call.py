"""What the broker gets: a run of a script, and what the transitions take of one task."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from duly.engine.storage.keys import QueueKeys
from duly.engine.storage.scripts.declaration import Argument, Arguments, Script
from duly.engine.transport.packing import Head

Destination = Literal[
    "retry", "archived", "completed", "quarantined", "dropped", "waiting", "scheduled"
]
ATTEMPTS_KEPT = 20
"""Ended attempts in a task's history; the oldest go first."""
_MS_PER_MINUTE = 60_000


class Call(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One run of a script. All its keys share the hash tag of one queue."""

    script: Script[Any]
    keys: tuple[str, ...]
    args: Sequence[Argument]
    head: Head | None = None
    """What it begins with, where many calls begin with the same."""


class NewTask(msgspec.Struct, kw_only=True, eq=False, gc=False):
    """What `add` needs of one task. `due_ms` 0 means now; `lock` "" means not unique."""

    id: str
    data: bytes
    due_ms: int = 0
    lock: str = ""
    lock_ttl_ms: int = 0
    group: tuple[str, int, int, int] | None = None
    """Kind and name, grace and delay in ms (0: none), most members; None: it runs by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of one task that did not simply succeed: see settle.lua."""

    stream_id: bytes
    id: str
    kind: str
    destination: Destination
    in_ms: int = 0
    tries: str = "0 0"
    attempt: bytes = b""
    lock: str = ""
    result: bytes = b""
    outcomes: str = ""
    join_queue: str = ""
    join: str = ""
    """Dropped: the join that waits for it in vain, and is cancelled; "": none."""
    data: bytes = b""
    """Retry, waiting and scheduled: the message that replaces the task's own; b"": it stays."""
    reason: str = ""
    """Why the task is given up, for the middleware; "": it is not."""


def call(
    script: Script[Arguments],
    keys: QueueKeys,
    arguments: Arguments,
    *,
    own_keys: tuple[str, ...] = (),
    columns: Sequence[Sequence[Argument]] = (),
    rows: Iterable[Iterable[Argument]] = (),
) -> Call:
    """Return the run of a script on a queue, with what its declaration names."""
    return Call(script, script.keys_of(keys) + own_keys, script.args_of(arguments, columns, rows))


def minute_of_hour(unix_ms: int) -> int:
    """Return the minute within its hour."""
    return unix_ms // _MS_PER_MINUTE % 60
