"""What servers ask before they run tasks of kinds with limits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from duly.engine.storage.keys import GROUP, QueueKeys
from duly.engine.storage.scripts.call import Call, call
from duly.engine.storage.scripts.declaration import Script

SHORTEST_REST_MS = 15_000
"""Until a task without a permit returns by itself; as a rule it is woken long before."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many tasks of a kind run at once in a queue, and how often one begins."""

    most: int = 0
    """0: any number."""
    every_us: int = 0
    """Microseconds between two beginnings in the long run; 0: no rate."""
    burst: int = 1
    """Tasks that may begin at once after a calm."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A task whose server asks whether it may run."""

    stream_id: bytes
    id: str
    tries: str
    """Its counts, as they are kept when it is deferred without a token."""
    tries_with_token: str
    has_token: bool = False
    """It has been deferred until a token of the rate was due, and comes with it."""


class _Acquire(NamedTuple):
    now_ms: int
    group: str
    kind: str
    max_running: int
    every_us: int
    burst: int
    rest_ms: int


class _Asking(NamedTuple):
    stream_id: bytes
    id: str
    tries_text: str
    token_tries_text: str
    has_token: int


_ACQUIRE_PERMITS = Script(
    "acquire_permits",
    ("stream", "index", "scheduled", "records", "tries", "limits"),
    _Acquire,
    own_keys=("permits", "parked"),
    rows={"task": _Asking},
)


def acquire_permits(
    keys: QueueKeys,
    kind: str,
    limit: Limit,
    tasks: Iterable[Asking],
    *,
    rest_ms: int = SHORTEST_REST_MS,
    now_ms: int = 0,
) -> Call:
    """Let tasks run or defer them. Answers for each 0, -1 (not its server's) or ms to wait."""
    return call(
        _ACQUIRE_PERMITS,
        keys,
        _Acquire(now_ms, GROUP, kind, limit.most, limit.every_us, limit.burst, rest_ms),
        own_keys=(keys.permits(kind), keys.parked(kind)),
        rows=[
            _Asking(task.stream_id, task.id, task.tries, task.tries_with_token, int(task.has_token))
            for task in tasks
        ],
    )


class _Release(NamedTuple):
    group: str
    kind: str
    most: int


class _Released(NamedTuple):
    stream_id: bytes


_RELEASE_PERMITS = Script(
    "release_permits",
    ("stream", "index", "scheduled", "records", "tries", "limits", "history"),
    _Release,
    own_keys=("permits", "parked"),
    rows={"released": _Released},
)


def release_permits(
    keys: QueueKeys, kind: str, *, most: int, stream_ids: Sequence[bytes] = ()
) -> Call:
    """Release permits, wake tasks that wait for one. Answers how many wait in the stream now."""
    return call(
        _RELEASE_PERMITS,
        keys,
        _Release(GROUP, kind, most),
        own_keys=(keys.permits(kind), keys.parked(kind)),
        rows=map(_Released, stream_ids),
    )
