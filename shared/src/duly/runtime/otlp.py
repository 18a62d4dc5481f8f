"""Spans as OTLP's protobuf, written by hand, without protobuf and its generated code.

The numbers are those of the fields of `opentelemetry/proto/trace/v1/trace.proto`, which is stable.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from struct import Struct
from typing import Any, Final

from opentelemetry.trace import SpanContext, StatusCode

from duly.runtime.tracer import KeptSpan

_TIMES: Final = Struct("<BQBQ").pack
_TIME: Final = Struct("<BQ").pack
_DOUBLE: Final = Struct("<Bd").pack
_FLAGS: Final = Struct("<I").pack
_CODES: Final = {StatusCode.OK: 1, StatusCode.ERROR: 2}
_START, _END = 7 << 3 | 1, 8 << 3 | 1
_ATTRIBUTES, _EVENTS, _LINKS, _STATUS = 9, 11, 13, 15
_SPAN_FLAGS: Final = b"\x85\x01"
_LINK_FLAGS: Final = b"\x35"
_MASK: Final = (1 << 64) - 1
_SMALL: Final = 0x80


def request(resource: bytes, spans: Sequence[KeptSpan], version: str) -> bytes:
    """Return an `ExportTraceServiceRequest`.

    Args:
        resource: Who they are of, as `resource` gives it.
        spans: That have ended.
        version: Of the scopes.
    """
    scopes: list[bytes] = []
    for name, group in groupby(sorted(spans, key=_scope), key=_scope):
        own = b"".join([_field(2, encoded(span)) for span in group])
        scopes.append(_field(2, _field(1, _scope_of(name, version)) + own))
    return _field(1, _field(1, resource) + b"".join(scopes))


def resource(attributes: Mapping[str, Any]) -> bytes:
    """Return a `Resource`."""
    return _attributes(1, attributes)


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
        _TIMES(_START, span.start_ns, _END, span.end_ns),
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
    return b"".join(
        [_field(number, _key(key) + _field(2, _value(value))) for key, value in attributes.items()]
    )


def _value(value: Any) -> bytes:  # noqa: ANN401 - what `tracer.bounded` lets through
    if isinstance(value, str):
        return _text(1, value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & _MASK)
    if isinstance(value, float):
        return _DOUBLE(4 << 3 | 1, value)
    return _field(5, b"".join([_field(1, _value(item)) for item in value]))


def _scope(span: KeptSpan) -> str:
    return span.scope


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
    return _varint(number << 3 | 2) + _varint(size) + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= _SMALL:
        found.append(number & 0x7F | _SMALL)
        number >>= 7
    found.append(number)
    return bytes(found)
