"""What is filled into a form is, for whoever reads it, what the encoder writes of any span."""

from hypothesis import given
from hypothesis import strategies as st
from tests.otlp import Received

from duly.engine.middleware.attemptforms import MOST, Forms
from duly.engine.middleware.attemptspan import SCOPE, AttemptSpan
from duly.engine.middleware.spans import Place
from duly.runtime.traceparent import Parent
from duly.task import TaskContext

NAMES = st.text(min_size=1, max_size=40)
MS = st.integers(1, 2**42)
PARENTS = st.builds(
    lambda trace_id, span_id: Parent(f"{trace_id:032x}", f"{span_id:016x}", sampled=True),
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
)
PLACES = st.none() | st.tuples(PARENTS, st.integers(1, 16)).map(lambda where: Place(*where))
TASKS = st.builds(
    TaskContext,
    id=st.text(min_size=1, max_size=256),
    queue=NAMES,
    kind=NAMES,
    attempt=st.integers(1, 300),
    waiting_since_ms=MS,
    started_ms=MS,
)


def facts(span):
    return {name: str(value) for name, value in vars(span).items() if name != "id"}


@given(st.lists(st.tuples(TASKS, PLACES), min_size=1, max_size=4))
def test_a_filled_in_form_says_what_the_encoder_says(attempts):
    forms = Forms(Received())
    for task, found in attempts * 2:
        filled, encoded = Received(), Received()
        span = AttemptSpan(encoded, task, found)
        span.end_ns, span.outcome = span.start_ns + 7, "succeeded"
        span.identify()

        filled.add_encoded(SCOPE, forms.fill_in(span, span.end_ns + 9), 3 if span.above else 2)

        if span.above:
            encoded.add(span.wait(b"w" * 8))
        encoded.add(span)
        span.settle(b"s" * 8).end(span.end_ns + 9)
        assert [facts(each) for each in filled] == [facts(each) for each in encoded]
        assert len({each.id for each in filled}) == len(filled)
        assert span.ids[16:].hex() in {each.id for each in filled}


def test_forms_do_not_pile_up():
    forms = Forms(Received())
    for number in range(2 * MOST):
        task = TaskContext(id="t", queue=f"q{number}", kind="k")
        span = AttemptSpan(Received(), task)
        span.end_ns = span.start_ns
        forms.fill_in(span, span.end_ns)

    assert len(forms._forms) <= MOST
