import time

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState
from tests.otlp import Kept, SpanFound, plain

from duly.runtime import otlp
from duly.runtime.tracer import Provider

FAR = SpanContext(2**128 - 1, 2**64 - 1, True, TraceFlags(1), TraceState([("a", "1")]))
VALUES = {
    "text": "Ünï " + "x" * 300,
    "lone": "\ud800",
    "true": True,
    "false": False,
    "zero": 0,
    "large": 2**62,
    "negative": -5,
    "float": 0.5,
    "texts": ["a", "b"],
    "numbers": [1, -2],
    "none": [],
}


def decoded(*spans):
    fields = [(span.scope, otlp.field_of(span)) for span in spans]
    body = otlp.request(otlp.resource({"service.name": "s"}), fields, "1.2")
    return ExportTraceServiceRequest.FromString(body)


def test_opentelemetrys_own_classes_read_what_is_written():
    ended = Kept()
    tracer = Provider(ended, 1.0).get_tracer("duly.engine")
    with tracer.start_as_current_span("outer", kind=SpanKind.PRODUCER) as outer:
        inner = tracer.start_span(
            "inner",
            kind=SpanKind.CONSUMER,
            attributes=VALUES,
            links=[Link(FAR, {"duly.link": "x"})],
        )
        inner.add_event("seen", {"n": 1}, time.time_ns())
        inner.set_status(StatusCode.ERROR, "ValueError")
        inner.end()
    Provider(ended, 1.0).get_tracer("shop").start_span("x").end()

    (resource,) = decoded(*ended).resource_spans
    scopes = {scope.scope.name: scope for scope in resource.scope_spans}

    assert plain(resource.resource.attributes) == {"service.name": "s"}
    assert (scopes["duly.engine"].scope.version, scopes["shop"].scope.version) == ("1.2", "")
    first, second = (SpanFound(each, "", {}) for each in scopes["duly.engine"].spans)
    assert (first.name, first.kind, first.parent) == ("inner", 5, second.id)
    assert (second.name, second.kind, second.parent) == ("outer", 4, "")
    assert first.place == (f"{outer.context.trace_id:032x}", f"{inner.context.span_id:016x}")
    assert (first.start_ns, first.end_ns) == (inner.start_ns, inner.end_ns)
    assert first.attributes == {**VALUES, "lone": "?"}
    assert first.events == [("seen", {"n": 1})]
    assert first.links == {("f" * 32, "f" * 16)}
    (link,) = scopes["duly.engine"].spans[0].links
    assert (link.trace_state, plain(link.attributes), link.flags) == ("a=1", {"duly.link": "x"}, 1)
    assert (first.status.code, first.status.message) == (2, "ValueError")
    assert first.flags == 1


def test_nothing_is_unknown_to_their_schema():
    ended = Kept()
    Provider(ended, 1.0).get_tracer("shop").start_span("x", attributes=VALUES).end()

    request = decoded(*ended)

    body = request.SerializeToString()
    request.DiscardUnknownFields()
    assert request.SerializeToString() == body


@given(
    st.dictionaries(
        st.text(max_size=300),
        st.text(max_size=300)
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False)
        | st.lists(st.text(max_size=9)),
        max_size=9,
    )
)
def test_all_attributes_are_read_as_they_were_written(attributes):
    ended = Kept()
    Provider(ended, 1.0).get_tracer("shop").start_span("x", attributes=attributes).end()

    ((scope,),) = (each.scope_spans for each in decoded(*ended).resource_spans)

    assert plain(scope.spans[0].attributes) == attributes
