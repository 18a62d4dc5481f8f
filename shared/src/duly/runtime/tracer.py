"""A tracer of OpenTelemetry's API whose spans cost less than those of the SDK.

What is asked of a tracer here is less than what the SDK offers: spans go to one sink, and are
sampled by their parent, else by the id of their trace. It is bounded in what a span may hold, and
keeps of errors their class only: their words may hold what belongs in no trace.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.util import types
from opentelemetry.util._decorator import _agnosticcontextmanager
from typing_extensions import override

MOST_ATTRIBUTES: Final = 64
MOST_EVENTS: Final = 32
MOST_LINKS: Final = 32
LONGEST_TEXT: Final = 1024
"""Characters of a name or a value that are kept."""
_IDS: Final = 1 << 64
_SAMPLED: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_DROPPED: Final = trace.TraceFlags(trace.TraceFlags.DEFAULT)
_PLAIN: Final = (str, bool, int, float)
"""Types of values that are kept; sequences of them, too."""


class Sink(Protocol):
    """Takes spans that have ended, in any thread. It neither waits nor raises."""

    def add(self, span: "KeptSpan") -> None:
        """Take one."""

    def add_encoded(self, scope: str, spans: bytes, count: int) -> None:
        """Take several of a scope, as `otlp.field_of` writes them, one after the other."""

    def lose(self, count: int) -> None:
        """Count spans that somebody had to drop."""


class KeptSpan(trace.Span):
    """A span that is exported once it has ended. To be used by one thread at a time."""

    def __init__(
        self,
        sink: Sink,
        name: str,
        context: trace.SpanContext,
        *,
        parent_id: int,
        kind: trace.SpanKind,
        scope: str,
        start_ns: int,
        attributes: dict[str, Any],
        links: list[tuple[trace.SpanContext, Mapping[str, Any]]],
    ) -> None:
        self._sink, self.context, self.parent_id = sink, context, parent_id
        self.name, self.kind, self.scope = name, kind, scope
        self.start_ns, self.end_ns = start_ns, 0
        self.attributes, self.links = attributes, links
        self.events: list[tuple[str, int, Mapping[str, Any]]] = []
        self.status = trace.StatusCode.UNSET
        self.status_text = ""

    @override
    def get_span_context(self) -> trace.SpanContext:
        return self.context

    @override
    def is_recording(self) -> bool:
        return not self.end_ns

    @override
    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        known = self.attributes
        if not self.end_ns and (len(known) < MOST_ATTRIBUTES or key in known):
            kept = _kept(value)
            if kept is not None:
                known[key[:LONGEST_TEXT]] = kept

    @override
    def set_attributes(self, attributes: Mapping[str, types.AttributeValue]) -> None:
        for key, value in attributes.items():
            self.set_attribute(key, value)

    @override
    def add_event(
        self, name: str, attributes: types.Attributes = None, timestamp: int | None = None
    ) -> None:
        if not self.end_ns and len(self.events) < MOST_EVENTS:
            at_ns = time.time_ns() if timestamp is None else timestamp
            self.events.append((name[:LONGEST_TEXT], at_ns, bounded(attributes)))

    @override
    def add_link(self, context: trace.SpanContext, attributes: types.Attributes = None) -> None:
        if not self.end_ns and context.is_valid and len(self.links) < MOST_LINKS:
            self.links.append((context, bounded(attributes)))

    @override
    def update_name(self, name: str) -> None:
        self.name = name[:LONGEST_TEXT]

    @override
    def set_status(
        self, status: trace.Status | trace.StatusCode, description: str | None = None
    ) -> None:
        if isinstance(status, trace.Status):
            self.status, description = status.status_code, status.description
        else:
            self.status = status
        # "Class: message" is what `use_span` says of an error; the class is enough.
        self.status_text = (description or "").partition(":")[0][:LONGEST_TEXT]

    @override
    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        said = {**bounded(attributes), "exception.type": type(exception).__qualname__}
        self.add_event("exception", said, timestamp)

    @override
    def end(self, end_time: int | None = None) -> None:
        if not self.end_ns:
            self.end_ns = time.time_ns() if end_time is None else end_time
            self._sink.add(self)


class Tracer(trace.Tracer):
    """Makes spans of one instrumentation scope.

    Args:
        sink: Takes those that have ended and are kept.
        ratio: The share of traces that are kept of those that begin here.
        scope: The name of what makes them.
    """

    def __init__(self, sink: Sink, ratio: float, scope: str) -> None:
        self._sink, self._scope = sink, scope
        self._below = round(ratio * _IDS)

    def keeps(self, trace_id: int) -> bool:
        """Tell whether a trace that begins here is kept; as the SDK's sampler of ratios."""
        return trace_id & (_IDS - 1) < self._below

    @override
    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        parent = trace.get_current_span(context).get_span_context()
        state = None
        if parent.is_valid:
            trace_id, parent_id, state = parent.trace_id, parent.span_id, parent.trace_state
            kept = bool(parent.trace_flags & trace.TraceFlags.SAMPLED)
        else:
            trace_id, parent_id = random.getrandbits(128) or 1, 0
            kept = self.keeps(trace_id)
        flags = _SAMPLED if kept else _DROPPED
        own = trace.SpanContext(trace_id, random.getrandbits(64) or 1, False, flags, state)  # noqa: FBT003
        if not kept:
            return trace.NonRecordingSpan(own)
        return KeptSpan(
            self._sink,
            name[:LONGEST_TEXT],
            own,
            parent_id=parent_id,
            kind=kind,
            scope=self._scope,
            start_ns=time.time_ns() if start_time is None else start_time,
            attributes=bounded(attributes),
            links=[(link.context, bounded(link.attributes)) for link in (links or ())[:MOST_LINKS]],
        )

    @_agnosticcontextmanager
    @override
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with current(span):
            try:
                yield span
            except Exception as error:
                if record_exception:
                    span.record_exception(error)
                if set_status_on_exception:
                    span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                raise
            finally:
                if end_on_exit:
                    span.end()


class Provider(trace.TracerProvider):
    """Gives tracers whose spans go to one sink; see `Tracer`."""

    def __init__(self, sink: Sink, ratio: float) -> None:
        self.sink, self.ratio = sink, ratio
        self.before_close: list[Callable[[], None]] = []
        """Called before the sink is closed: each gives away the spans that it holds back."""

    def flush(self) -> None:
        """Have the sink given whatever is held back."""
        for give in self.before_close:
            give()

    @override
    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: types.Attributes = None,
    ) -> Tracer:
        del instrumenting_library_version, schema_url, attributes
        return Tracer(self.sink, self.ratio, instrumenting_module_name[:LONGEST_TEXT])


@contextmanager
def current(span: trace.Span) -> Iterator[None]:
    """Make a span the current one for the body of a `with`."""
    token = otel_context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        otel_context.detach(token)


def bounded(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return as many attributes as a span may hold, shortened, without those of other types."""
    found: dict[str, Any] = {}
    for key, value in (attributes or {}).items():
        if len(found) < MOST_ATTRIBUTES:
            kept = _kept(value)
            if kept is not None:
                found[key[:LONGEST_TEXT]] = kept
    return found


def _kept(value: Any) -> Any:  # noqa: ANN401 - whatever an instrumentation gives
    if type(value) is str:
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT]
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        items = [item for item in list(value)[:MOST_ATTRIBUTES] if isinstance(item, _PLAIN)]
        return [item[:LONGEST_TEXT] if isinstance(item, str) else item for item in items]
    return None
