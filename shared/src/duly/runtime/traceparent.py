"""W3C's headers of a trace, as they come from anybody: checked, and bounded before that.

Nothing here imports OpenTelemetry. It is asked for every task, and most belong to no trace.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
HEADERS: Final = (TRACEPARENT, TRACESTATE, "baggage")
"""What a task hands on to those that come after it."""
_LONGEST: Final = 256
_LONGEST_STATE: Final = 512
_SHAPE: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_SAMPLED: Final = 1
_MEMBER: Final = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")


class Parent(NamedTuple):
    """The span that a text names."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    sampled: bool
    """Whether it is kept."""


def read(text: str) -> Parent | None:
    """Return the span that a `traceparent` names; None: it is no such text."""
    if len(text) > _LONGEST:
        return None
    found = _SHAPE.fullmatch(text)
    if found is None or (found[4] is not None and text.startswith("00")):
        return None  # only versions to come may say more
    if found[1] == _NO_TRACE or found[2] == _NO_SPAN:
        return None
    return Parent(found[1], found[2], bool(int(found[3], 16) & _SAMPLED))


def parent_of(headers: Mapping[str, str]) -> Parent | None:
    """Return the span that a task's headers name; None: none, or none that is valid."""
    text = headers.get(TRACEPARENT)
    return read(text) if text else None


def written(trace_id: int, span_id: int, *, sampled: bool) -> str:
    """Return a span as a `traceparent`."""
    return f"00-{trace_id:032x}-{span_id:016x}-{'01' if sampled else '00'}"


def members(text: str) -> list[tuple[str, str]]:
    """Return the members of a `tracestate`; nothing of one that is longer or other than allowed."""
    if not text or len(text) > _LONGEST_STATE:
        return []
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not all(_MEMBER.fullmatch(part) for part in found):
        return []
    pairs = [(name, value) for name, _, value in (part.partition("=") for part in found)]
    return pairs if len(dict(pairs)) == len(pairs) else []
