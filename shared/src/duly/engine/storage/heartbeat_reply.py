"""What a server learns from a heartbeat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duly.engine.storage.decoding import texts

_MS_DIGITS = 16


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """What a heartbeat learns about a queue."""

    now_ms: int
    known: bool
    """False: there was no lease, since the tasks were reaped or this is the first heartbeat."""
    paused: bool
    expired: bool
    """The lease of another server has expired."""
    due_in_ms: int
    """-1: nothing is scheduled."""
    cancels: Mapping[str, str] = field(default_factory=dict)
    """Tasks that are to be stopped, with the outcome they are to have."""
    command: str = ""
    """The last command to this server: "quiet", "resume" or "stop"; "": nothing."""
    command_ms: int = 0
    """When that was given."""


def heartbeat_reply_of(answer: Sequence[Any]) -> HeartbeatReply:
    """Read the answer of heartbeat.lua."""
    now_ms, known, paused, expired, due, flat, last = answer
    names = texts(flat)
    cancels = dict(zip(names[::2], names[1::2], strict=True))
    command, _, when = texts([last])[0].partition(" ")
    command_ms = int(when) if when.isdecimal() and len(when) < _MS_DIGITS else 0
    return HeartbeatReply(
        now_ms, bool(known), bool(paused), bool(expired), due, cancels, command, command_ms
    )
