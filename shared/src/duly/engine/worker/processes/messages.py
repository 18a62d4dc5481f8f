"""What a worker and its child processes exchange: JSON, each message after its length.

Nothing is pickled: a handler and its job are named, and the payload travels as the JSON that was
enqueued.
"""

from typing import Any, Final

import msgspec

from duly.errors import Requeue, Retry, Revoke, Skip

FRAME_LIMIT_BYTES: Final = 4 * 1024 * 1024
LENGTH_BYTES: Final = 4
CONNECTION_LOST: Final = 74
"""The exit code of a child that cannot reach its worker (EX_IOERR)."""
OUTCOME_SIGNALS: Final = {"retry": Retry, "skip": Skip, "revoke": Revoke, "requeue": Requeue}


class Start(msgspec.Struct):
    """What a child gets on its command line."""

    path: list[str]
    socket: int
    """The inherited file descriptor."""
    server: int
    """The process that it belongs to."""
    log: dict[str, Any] | None = None
    service: str = ""


class Broker(msgspec.Struct, tag="broker"):
    """To a child, before its first task: where its handlers enqueue."""

    settings: dict[str, Any]
    """Of a `RedisSettings`, its secrets included: nobody else reads this socket."""
    queues: dict[str, dict[str, Any]] | None
    """Name → a `QueueSettings`; None: those that the broker knows."""


class Facts(msgspec.Struct):
    """What a context is made of."""

    id: str
    queue: str
    kind: str
    attempt: int
    max_attempts: int
    crashes: int
    waiting_since_ms: int
    started_ms: int
    deadline_ms: int
    headers: dict[str, str]


class Run(msgspec.Struct, tag="run"):
    """To a child: run a task."""

    handler: str
    """`module:name`, as its job."""
    job: str
    payload: str
    facts: Facts
    offset_ms: int
    """How far the broker's clock is ahead of this machine's."""
    keeps: bool
    """Whether anybody wants the result."""
    number: int = 0
    """Counts the tasks of this child; each reply names the one that it belongs to."""
    traced: dict[str, str] = {}
    """Headers that name the attempt's span; empty: it is not kept."""
    exports: bool = False
    """Whether the worker takes spans of the child."""


class Tell(msgspec.Struct, tag="tell"):
    """To a child: its task is cancelled, or the worker stops."""

    cancelled: bool = False
    stopping: bool = False


class Ready(msgspec.Struct, tag="ready"):
    """From a child: it takes tasks from now on."""


class Note(msgspec.Struct, tag="note"):
    """From a child: what its task reports before its end."""

    number: int
    fraction: float | None = None
    note: str = ""
    partial_result: str | None = None
    """JSON, as a text in it."""


class Done(msgspec.Struct, tag="done"):
    """From a child: the handler returned."""

    number: int
    result: msgspec.Raw
    note: Note | None = None
    successors: str = ""
    """The successors, planned: JSON as a text in it."""


class Raised(msgspec.Struct, tag="raised"):
    """From a child: the handler raised."""

    number: int
    module: str
    error: str
    """The name of its class."""
    message: str
    traceback: str
    signal: str = ""
    after_ms: int | None = None
    after_raw: float | None = None
    """What a `Retry` was given that is no timedelta."""
    note: Note | None = None


class Spans(msgspec.Struct, tag="spans"):
    """From a child: spans that have ended in it."""

    scope: str
    data: bytes = b""
    """As `duly.runtime.otlp.field_of` writes them, one after the other."""
    count: int = 0
    lost: int = 0
    """Others, which were too large."""


Reply = Ready | Note | Done | Raised | Spans


def frame(content: msgspec.Struct) -> bytes:
    """Return a message with its length before it."""
    data = msgspec.json.encode(content)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data
