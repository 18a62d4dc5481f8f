import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, StatusCode, TraceFlags
from tests.otlp import Kept

from duly.runtime.tracer import (
    LONGEST_TEXT,
    MOST_ATTRIBUTES,
    MOST_EVENTS,
    MOST_LINKS,
    KeptSpan,
    Provider,
    current,
)

PARENT = SpanContext(7, 8, True, TraceFlags(1))


@pytest.fixture
def ended():
    return Kept()


@pytest.fixture
def tracer(ended):
    return Provider(ended, 1.0).get_tracer("shop")


def test_a_span_is_given_away_once_when_it_ends(tracer, ended):
    span = tracer.start_span("order", attributes={"a": 1})
    assert span.is_recording()

    span.end()
    span.end()
    span.set_attribute("late", 1)

    assert ended == [span]
    assert not span.is_recording()
    assert span.attributes == {"a": 1}
    assert 0 < span.start_ns <= span.end_ns


def test_children_belong_to_the_trace_of_the_current_span(tracer, ended):
    with tracer.start_as_current_span("outer") as outer:
        inner = tracer.start_span("inner")
    inner.end()

    assert inner.context.trace_id == outer.context.trace_id
    assert inner.parent_id == outer.context.span_id
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize(("flags", "kept"), [(0, False), (1, True)])
def test_the_parent_decides_whether_a_span_is_kept(ended, flags, kept):
    for ratio in (0.0, 1.0):
        tracer = Provider(ended, ratio).get_tracer("shop")
        with current(trace.NonRecordingSpan(SpanContext(7, 8, True, TraceFlags(flags)))):
            span = tracer.start_span("inner")

        assert isinstance(span, KeptSpan) is kept
        assert span.get_span_context().trace_id == 7
        assert span.get_span_context().trace_flags.sampled is kept


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_traces_are_chosen_as_the_sdk_chooses_them(ended, ratio):
    tracer = Provider(ended, ratio).get_tracer("shop")
    theirs = TraceIdRatioBased(ratio)

    for trace_id in [1, (1 << 64) - 1, 1 << 63, *(7**number for number in range(20, 45))]:
        sampled = theirs.should_sample(None, trace_id, "x").decision.is_sampled()
        assert tracer.keeps(trace_id) == sampled


def test_of_an_error_only_the_class_is_kept(tracer, ended):
    def fail():
        raise ValueError("ann@example.com")

    with pytest.raises(ValueError, match="ann"), tracer.start_as_current_span("own"):
        fail()
    with (
        pytest.raises(ValueError, match="ann"),
        trace.use_span(tracer.start_span("use"), end_on_exit=True, record_exception=True),
    ):
        fail()

    for span in ended:
        assert (span.status, span.status_text) == (StatusCode.ERROR, "ValueError")
        assert [event[2] for event in span.events] == [{"exception.type": "ValueError"}]


def test_what_a_span_holds_is_bounded(tracer):
    span = tracer.start_span("x" * 9999, links=[Link(PARENT)] * 99)
    for number in range(200):
        span.set_attribute(f"a{number}", "x" * 9999)
        span.add_event("e" * 9999)
        span.add_link(PARENT)
    span.set_attribute("a0", 1)

    assert len(span.name) == LONGEST_TEXT
    assert len(span.attributes) == MOST_ATTRIBUTES
    assert span.attributes["a0"] == 1
    assert len(span.attributes["a1"]) == LONGEST_TEXT
    assert len(span.events) == MOST_EVENTS
    assert len(span.links) == MOST_LINKS


def test_values_of_other_types_are_left_out(tracer):
    span = tracer.start_span(
        "own", attributes={"none": None, "bytes": b"x", "list": ["a", None, 1]}
    )
    span.set_attributes({"object": object(), "float": 0.5})

    assert span.attributes == {"list": ["a", 1], "float": 0.5}
