"""The catalogue of kinds: what processes publish, and what is forgotten."""

from collections.abc import Iterable
from typing import NamedTuple

from duly.engine.storage.keys import KIND_KEYS
from duly.engine.storage.scripts.call import Call
from duly.engine.storage.scripts.declaration import Script

MOST_KINDS = 2_000
MOST_BYTES = 8 * 1024 * 1024
"""Of all records together."""
LIVE_MS = 15 * 60_000
"""How long a process counts as alive after it has published: three times as often as it does."""
KEPT_MS = 30 * 86_400_000
"""How long a kind is kept after it was published last."""


class Said(NamedTuple):
    """What a process says of one kind."""

    kind: str
    digest: str
    app: str
    record: bytes
    queue: str
    """Of its policy."""


class _PublishKinds(NamedTuple):
    now_ms: int
    started_ms: int
    live_ms: int
    kept_ms: int
    most: int
    most_bytes: int


_PUBLISH_KINDS = Script(
    "publish_kinds", (), _PublishKinds, own_keys=KIND_KEYS._fields, rows={"said": Said}
)


def publish_kinds(
    said: Iterable[Said],
    *,
    started_ms: int,
    most: int = MOST_KINDS,
    most_bytes: int = MOST_BYTES,
    now_ms: int = 0,
) -> Call:
    """Publish kinds. Answers as publish_kinds.lua says."""
    arguments = _PublishKinds(now_ms, started_ms, LIVE_MS, KEPT_MS, most, most_bytes)
    return Call(_PUBLISH_KINDS, KIND_KEYS, _PUBLISH_KINDS.args_of(arguments, rows=said))


class _ForgetKinds(NamedTuple):
    now_ms: int
    kept_ms: int


class _Gone(NamedTuple):
    kind: str


# All keys but the last: names of queues are not forgotten kind by kind.
_FORGET_KINDS = Script(
    "forget_kinds", (), _ForgetKinds, own_keys=KIND_KEYS._fields[:-1], rows={"gone": _Gone}
)


def forget_kinds(kinds: Iterable[str], *, now_ms: int = 0) -> Call:
    """Forget kinds that were not published for 30 days. Answers how many."""
    rows = map(_Gone, kinds)
    return Call(
        _FORGET_KINDS,
        KIND_KEYS[:-1],
        _FORGET_KINDS.args_of(_ForgetKinds(now_ms, KEPT_MS), rows=rows),
    )
