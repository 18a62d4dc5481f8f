import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.runtime import traceparent
from duly.runtime.traceparent import Parent, members, parent_of, read

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(f"00-{TRACE}-{SPAN}-01", Parent(TRACE, SPAN, True), id="sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-00", Parent(TRACE, SPAN, False), id="not sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-03", Parent(TRACE, SPAN, True), id="more flags"),
        pytest.param(f"01-{TRACE}-{SPAN}-01-more", Parent(TRACE, SPAN, True), id="to come"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", None, id="more than the version has"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", None, id="forbidden version"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", None, id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", None, id="no span"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", None, id="capitals"),
        pytest.param(f"00-{TRACE}-{SPAN}-01\n", None, id="line break"),
        pytest.param(f" 00-{TRACE}-{SPAN}-01", None, id="space"),
        pytest.param(f"01-{TRACE}-{SPAN}-01-" + "x" * 300, None, id="too long"),
        pytest.param("\u0660\u0660-" + TRACE + "-" + SPAN + "-01", None, id="other digits"),
        pytest.param("", None, id="empty"),
    ],
)
def test_a_traceparent_is_checked(text, found):
    assert read(text) == found
    assert parent_of({"traceparent": text}) == found


def test_without_a_header_there_is_no_parent():
    assert parent_of({}) is None


@given(st.text(max_size=400))
def test_nothing_that_is_sent_raises(text):
    read(text)
    members(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("a=1, duly=h:2", [("a", "1"), ("duly", "h:2")], id="two"),
        pytest.param("", [], id="empty"),
        pytest.param("a=1,a=2", [], id="twice"),
        pytest.param("a=1\nb=2", [], id="line break"),
        pytest.param("A=1", [], id="capitals"),
        pytest.param("a=" + "x" * 600, [], id="too long"),
    ],
)
def test_a_tracestate_is_checked(text, found):
    assert members(text) == found


def test_what_is_written_is_read():
    text = traceparent.written(int(TRACE, 16), int(SPAN, 16), sampled=True)

    assert read(text) == Parent(TRACE, SPAN, True)
