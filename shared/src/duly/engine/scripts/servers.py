"""What servers do: leases, and the tasks of those that died."""

from collections.abc import Iterable

from duly.engine.keys import GROUP, QueueKeys
from duly.engine.scripts.call import Call, minute_of_hour, script


def beat(
    keys: QueueKeys,
    *,
    server: str,
    lease_ms: int,
    description: bytes,
    kinds: Iterable[str] = (),
    now_ms: int = 0,
) -> Call:
    """Renew a lease. Answers [now-ms, known, paused, expired, ms or -1, cancels, command]."""
    names = (
        keys.leases,
        keys.servers,
        keys.paused,
        keys.scheduled,
        keys.retry,
        keys.cancels,
        keys.kinds,
        keys.commands,
    )
    return Call(script("beat"), names, (now_ms, server, lease_ms, description, *kinds))


def reap(
    keys: QueueKeys,
    *,
    server: str,
    lease_ms: int,
    now_ms: int,
    max_crashes: int = 3,
    most: int = 200,
    at_ms: int = 0,
) -> Call:
    """Take a dead server's tasks. Answers -1 if it lives, else what reap.lua says."""
    names = (
        keys.stream,
        keys.index,
        keys.leases,
        keys.history,
        keys.totals,
        keys.hour(now_ms),
        keys.records,
        keys.tries,
        keys.quarantined,
        keys.locks,
        keys.cancels,
        keys.day(now_ms),
    )
    args = (at_ms, GROUP, server, lease_ms, max_crashes, minute_of_hour(now_ms), most)
    return Call(script("reap"), names, args)


def suspects(keys: QueueKeys, *, now_ms: int = 0) -> Call:
    """Name the servers that may be dead. Answers their ids."""
    return Call(script("suspects"), (keys.stream, keys.leases), (now_ms, GROUP))


def leave(keys: QueueKeys, *, server: str) -> Call:
    """Say good-bye. Answers 0, or 1 when the server still holds tasks and nothing was done."""
    names = (keys.stream, keys.leases, keys.servers, keys.commands)
    return Call(script("leave"), names, (GROUP, server))


def command(keys: QueueKeys, *, server: str, word: str, now_ms: int = 0) -> Call:
    """Tell a server what to do. Answers 1, or 0 when no such server lives."""
    names = (keys.leases, keys.commands)
    return Call(script("command"), names, (now_ms, server, word, keys.control))
