"""What servers do: leases, and the tasks of those that died."""

from collections.abc import Iterable
from typing import NamedTuple

from duly.engine.storage.keys import GROUP, QueueKeys
from duly.engine.storage.scripts.call import Call, call, minute_of_hour
from duly.engine.storage.scripts.declaration import Script


class _Heartbeat(NamedTuple):
    now_ms: int
    server: str
    lease_ms: int
    description: bytes
    begins: int


class _Known(NamedTuple):
    kind: str


_HEARTBEAT = Script(
    "heartbeat",
    ("leases", "servers", "paused", "scheduled", "retry", "cancels", "kinds", "commands", "pulse"),
    _Heartbeat,
    rows={"known": _Known},
)


def heartbeat(
    keys: QueueKeys,
    *,
    server: str,
    lease_ms: int,
    description: bytes,
    kinds: Iterable[str] = (),
    begins: bool = True,
    now_ms: int = 0,
) -> Call:
    """Renew a lease, or begin one where there is none, if it `begins`.

    Answers [now-ms, known, paused, expired, ms or -1, cancels, command].
    """
    arguments = _Heartbeat(now_ms, server, lease_ms, description, int(begins))
    return call(_HEARTBEAT, keys, arguments, rows=[(kind,) for kind in kinds])


class _Reap(NamedTuple):
    now_ms: int
    group: str
    server: bytes | str
    lease_ms: int
    max_crashes: int
    minute: int
    most: int
    after: bytes


_REAP = Script(
    "reap",
    ("stream", "index", "leases", "history", "totals", "records", "tries", "quarantined", "locks",
     "cancels", "kinds", "pulse"),
    _Reap,
    own_keys=("hour", "day"),
)  # fmt: skip


def reap(
    keys: QueueKeys,
    *,
    server: bytes | str,
    lease_ms: int,
    now_ms: int,
    max_crashes: int = 3,
    most: int = 200,
    after: bytes = b"",
    at_ms: int = 0,
) -> Call:
    """Take a dead server's tasks. Answers -1 if it lives, else what reap.lua says."""
    minute = minute_of_hour(now_ms)
    return call(
        _REAP,
        keys,
        _Reap(at_ms, GROUP, server, lease_ms, max_crashes, minute, most, after),
        own_keys=(keys.hour(now_ms), keys.day(now_ms)),
    )


class _ExpiredLeases(NamedTuple):
    now_ms: int
    group: str
    lease_ms: int


_EXPIRED_LEASES = Script("expired_leases", ("stream", "leases", "kinds", "pulse"), _ExpiredLeases)


def expired_leases(keys: QueueKeys, *, lease_ms: int, now_ms: int = 0) -> Call:
    """Name the servers that may be dead. Answers their ids."""
    return call(_EXPIRED_LEASES, keys, _ExpiredLeases(now_ms, GROUP, lease_ms))


class _Deregister(NamedTuple):
    group: str
    server: str


_DEREGISTER = Script("deregister", ("stream", "leases", "servers", "commands"), _Deregister)


def deregister(keys: QueueKeys, *, server: str) -> Call:
    """Deregister a server. Answers 0, or 1 when it still holds tasks and nothing was done."""
    return call(_DEREGISTER, keys, _Deregister(GROUP, server))


class _SignalServer(NamedTuple):
    now_ms: int
    server: str
    command: str
    control: str


_SIGNAL_SERVER = Script("signal_server", ("leases", "commands"), _SignalServer)


def signal_server(keys: QueueKeys, *, server: str, word: str, now_ms: int = 0) -> Call:
    """Give a server a command. Answers 1, or 0 when no such server lives."""
    return call(_SIGNAL_SERVER, keys, _SignalServer(now_ms, server, word, keys.control))
