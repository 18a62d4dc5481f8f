"""Spans as OTLP's protobuf, written by hand, without protobuf and its generated code.

The numbers are those of the fields of `opentelemetry/proto/trace/v1/trace.proto`, which is stable.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from opentelemetry.trace import SpanContext, StatusCode

from duly.runtime.tracer import KeptSpan

START: Final = 7 << 3 | 1
END: Final = 8 << 3 | 1
TIMES: Final = Struct("<BQBQ").pack
"""Writes when a span began and ended: `TIMES(START, ns, END, ns)`."""
_TIME: Final = Struct("<BQ").pack
_DOUBLE: Final = Struct("<Bd").pack
_FLAGS: Final = Struct("<I").pack
_CODES: Final = {StatusCode.OK: 1, StatusCode.ERROR: 2}
_ATTRIBUTES, _EVENTS, _LINKS, _STATUS = 9, 11, 13, 15
_SPAN_FLAGS: Final = b"\x85\x01"
_LINK_FLAGS: Final = b"\x35"
_MASK: Final = (1 << 64) - 1
_SMALL: Final = 0x80
_SHORT: Final = _SMALL - 4


def request(resource: bytes, spans: Iterable[tuple[str, bytes]], version: str) -> bytes:
    """Return an `ExportTraceServiceRequest`.

    Args:
        resource: Who they are of, as `resource` gives it.
        spans: Scope and spans of it that have ended, as `field_of` writes them.
        version: Of the scopes.
    """
    scopes: dict[str, list[bytes]] = {}
    for scope, written in spans:
        scopes.setdefault(scope, []).append(written)
    about = _field(1, resource)
    parts, size = [about], len(about)
    for scope, fields in scopes.items():
        named = _field(1, _scope_of(scope, version))
        own = len(named) + sum(map(len, fields))
        before = _before(2, own)
        parts += (before, named, *fields)
        size += len(before) + own
    # Joined once: to copy so many bytes for each level would take as long as to send them.
    return b"".join((_before(1, size), *parts))


def resource(attributes: Mapping[str, Any]) -> bytes:
    """Return a `Resource`."""
    return _attributes(1, attributes)


def attribute(key: str, value: Any) -> bytes:  # noqa: ANN401 - what `tracer.bounded` lets through
    """Return an attribute, as `encoded` writes it."""
    return _attributes(_ATTRIBUTES, {key: value})


def field_of(span: KeptSpan) -> bytes:
    """Return a span as what a `ScopeSpans` is made of: with its number and length before it."""
    return _field(2, encoded(span))


def encoded(span: KeptSpan) -> bytes:
    """Return a `Span`."""
    own, state = span.context, span.context.trace_state
    parts = [
        b"\x0a\x10",
        own.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        own.span_id.to_bytes(8, "big"),
    ]
    if state:
        parts.append(_text(3, state.to_header()))
    if span.parent_id:
        parts += (b"\x22\x08", span.parent_id.to_bytes(8, "big"))
    parts += (
        _name(span.name),
        bytes((6 << 3, span.kind.value + 1)),
        TIMES(START, span.start_ns, END, span.end_ns),
        _attributes(_ATTRIBUTES, span.attributes),
    )
    for name, at_ns, attributes in span.events:
        event = _TIME(1 << 3 | 1, at_ns) + _text(2, name) + _attributes(3, attributes)
        parts.append(_field(_EVENTS, event))
    for context, attributes in span.links:
        parts.append(_field(_LINKS, _link(context, attributes)))
    if span.status in _CODES:
        text = _text(2, span.status_text) if span.status_text else b""
        parts.append(_field(_STATUS, text + bytes((3 << 3, _CODES[span.status]))))
    parts += (_SPAN_FLAGS, _FLAGS(own.trace_flags))
    return b"".join(parts)


def _link(context: SpanContext, attributes: Mapping[str, Any]) -> bytes:
    state = context.trace_state
    return b"".join(
        (
            b"\x0a\x10",
            context.trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            context.span_id.to_bytes(8, "big"),
            _text(3, state.to_header()) if state else b"",
            _attributes(4, attributes),
            _LINK_FLAGS,
            _FLAGS(context.trace_flags),
        )
    )


def _attributes(number: int, attributes: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    for key, value in attributes.items():
        name = _key(key)
        if type(value) is str:
            data = value.encode("utf-8", "replace")
            size = len(data)
            if len(name) + size < _SHORT:  # most are: each length fits in a byte
                parts += (
                    bytes((number << 3 | 2, len(name) + size + 4)),
                    name,
                    bytes((0x12, size + 2, 0x0A, size)),
                    data,
                )
                continue
        parts.append(_field(number, name + _field(2, _value(value))))
    return b"".join(parts)


def _value(value: Any) -> bytes:  # noqa: ANN401 - what `tracer.bounded` lets through
    if isinstance(value, str):
        return _text(1, value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value & _MASK)
    if isinstance(value, float):
        return _DOUBLE(4 << 3 | 1, value)
    return _field(5, b"".join([_field(1, _value(item)) for item in value]))


@lru_cache(256)
def _scope_of(name: str, version: str) -> bytes:
    return _text(1, name) + (_text(2, version) if name.startswith("duly") else b"")


@lru_cache(1024)
def _key(key: str) -> bytes:
    return _text(1, key)


@lru_cache(1024)
def _name(name: str) -> bytes:
    return _text(5, name)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode(errors="replace"))


def _field(number: int, data: bytes) -> bytes:
    size = len(data)
    if size < _SMALL and number < 16:  # noqa: PLR2004 - four bits
        return bytes((number << 3 | 2, size)) + data
    return _before(number, size) + data


def _before(number: int, size: int) -> bytes:
    """Return what stands before so many bytes of a field."""
    return varint(number << 3 | 2) + varint(size)


def varint(number: int) -> bytes:
    """Return a number, at least 0, in as many bytes as it needs."""
    found = bytearray()
    while number >= _SMALL:
        found.append(number & 0x7F | _SMALL)
        number >>= 7
    found.append(number)
    return bytes(found)
