"""What attempts add up to: from zero on, bounded, and how punctual the tasks of ticks are."""

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from structlog.testing import capture_logs
from tests.otlp import Received

from duly.engine.middleware import Ended, Hooks, Outcome
from duly.engine.middleware.attempts import TraceAttempts
from duly.engine.middleware.metrics import CountTasks
from duly.engine.storage.reports import UNKNOWN_KIND, DeadLetter
from duly.runtime.tracer import Provider
from duly.task import SLOT_HEADER, TaskContext, TaskState, tick_id

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def counts(registry):
    return CountTasks(registry)


@pytest.fixture
def text(registry):
    return lambda: generate_latest(registry).decode()


def begun(counts, outcome=Outcome.SUCCEEDED, seconds=0.2, **context):
    given = TaskContext(**{"id": "t1", "queue": "low", "kind": "note", **context})
    counts.began(given)
    return Ended(given, outcome, seconds)


def run(counts, outcome=Outcome.SUCCEEDED, seconds=0.2, **context):
    counts.ended(begun(counts, outcome, seconds, **context))


def test_a_known_kind_is_counted_from_zero_on_with_every_outcome(counts, text):
    counts.know("low", "note")

    for outcome in ("succeeded", "retried", "archived", "lost", "requeued", "cancelled"):
        line = f'duly_tasks_total{{kind="note",outcome="{outcome}",queue="low"}} 0.0'
        assert line in text()
    assert 'duly_task_duration_seconds_count{kind="note",queue="low"} 0.0' in text()
    assert 'duly_task_wait_seconds_count{kind="note",queue="low"} 0.0' in text()


def test_waits_and_durations_are_told_by_kind(counts, text):
    run(counts, waiting_since_ms=1000, started_ms=1400)
    run(counts, Outcome.RETRIED, kind="other_note")

    assert 'duly_task_wait_seconds_sum{kind="note",queue="low"} 0.4' in text()
    assert 'duly_task_duration_seconds_bucket{kind="note",le="0.25",queue="low"} 1.0' in text()
    assert 'duly_tasks_total{kind="other_note",outcome="retried",queue="low"} 1.0' in text()
    assert 'duly_tasks_running{kind="note",queue="low"} 0.0' in text()


def test_beyond_a_hundred_kinds_all_others_are_one(counts, text):
    for number in range(105):
        run(counts, kind=f"kind-{number}")

    assert 'duly_tasks_total{kind="other",outcome="succeeded",queue="low"} 5.0' in text()
    assert "kind-100" not in text()


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.RETRIED])
def test_how_late_the_task_of_a_tick_succeeds_is_told(counts, registry, outcome):
    headers = {SLOT_HEADER: "1000000 1005000"}
    run(counts, outcome, id=tick_id("check", 1_000_000), headers=headers, started_ms=1_000_100)

    labels = {"entry": "check"}
    count = registry.get_sample_value("duly_tick_completion_seconds_count", labels)
    assert (count or 0) == (outcome is Outcome.SUCCEEDED)


SLOT = "1000000 1005000"


@pytest.mark.parametrize(
    ("task_id", "header"),
    [
        ("check@1970-01-01T00:16:40Z", "1000000"),
        ("check@1970-01-01T00:16:40Z", "x y"),
        ("check@1970-01-01T00:16:40Z", "²³ 4"),
        ("check@1970-01-01T00:16:40Z", "1000000 2 3"),
        ("check@1970-01-01T00:16:40Z", f"1000000 {'9' * 4400}"),
        (f"check@{'9' * 4400}", f"{'9' * 4400} 1005000"),
        ("t1", SLOT),
        ("stranger@x", SLOT),
        ("check@1970-01-01T00:16:41Z", SLOT),
        ("check@1970-01-01T00:16:40Z+a1b2c3d4", SLOT),
    ],
)
def test_what_no_tick_has_written_is_passed_over(counts, text, task_id, header):
    with capture_logs() as complaints:
        Hooks([counts]).ended(begun(counts, id=task_id, headers={SLOT_HEADER: header}))

    assert complaints == []
    assert "entry=" not in text()


def test_a_sampled_trace_is_an_exemplar_for_who_can_read_it(counts, registry, text):
    run(counts, headers={"traceparent": SAMPLED})
    run(counts, seconds=3.0, headers={"traceparent": SAMPLED[:-1] + "0"})
    run(counts, seconds=40.0, headers={"traceparent": "junk-01"})

    lines = generate_openmetrics(registry).decode().splitlines()
    found = [line for line in lines if " # " in line]
    assert len(found) == 1
    assert 'trace_id="0af7651916cd43dd8448eb211c80319c"' in found[0]
    assert 'le="0.25"' in found[0]
    assert "trace_id" not in text()


def exemplars(registry):
    """Return the labels of the exemplars, by the bucket that has them."""
    lines = generate_openmetrics(registry).decode().splitlines()
    found = [line.split(" # ") for line in lines if " # " in line]
    return {re.search('le="(.*?)"', series)[1]: labels for series, labels in found}


@pytest.mark.parametrize("attempt", [1, 3])
@pytest.mark.parametrize("headers", [{"traceparent": SAMPLED}, {}], ids=["traced", "not"])
def test_the_exemplar_is_the_span_of_the_attempt(counts, registry, attempt, headers):
    ended = Received()
    tracer = TraceAttempts(Provider(ended, 1.0))
    hooks = Hooks([tracer, counts])
    context = TaskContext(
        id="t1", queue="low", kind="note", attempt=attempt, headers=headers, started_ms=5_000
    )

    hooks.began(context)
    hooks.ended(Ended(context, Outcome.SUCCEEDED, 0.2))
    hooks.settled("low", ["t1"])

    (span,) = (span for span in ended if span.name == "run note")
    (labels,) = exemplars(registry).values()
    assert f'trace_id="{span.trace_id}"' in labels
    assert f'span_id="{span.id}"' in labels
    assert (span.trace_id in SAMPLED) is (attempt == 1 and bool(headers))


@pytest.mark.parametrize(
    ("traceparent", "kept"),
    [
        (SAMPLED[:-2] + "03", True),
        ("cc" + SAMPLED[2:], True),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", False),
        (SAMPLED[:-1] + "2", False),
    ],
    ids=["more flags", "later version", "no trace", "no span", "not sampled"],
)
def test_without_a_tracer_the_exemplar_is_what_enqueued_the_task(
    counts, registry, traceparent, kept
):
    run(counts, headers={"traceparent": traceparent})

    assert bool(exemplars(registry)) is kept


def test_a_bucket_keeps_its_exemplar_for_a_second(counts, registry):
    later = SAMPLED.replace("b7ad", "c7ad")
    for started_ms, headers in [(1_000, SAMPLED), (1_999, later)]:
        run(counts, started_ms=started_ms, headers={"traceparent": headers})
    first = exemplars(registry)
    run(counts, started_ms=2_000, headers={"traceparent": later})

    assert 'span_id="b7ad6b7169203331"' in first["0.25"]
    assert 'span_id="c7ad6b7169203331"' in exemplars(registry)["0.25"]


def test_what_was_put_aside_is_told_by_its_reason(counts, text):
    counts.quarantined("low", "t1", UNKNOWN_KIND)
    counts.quarantined("low", "t2", "no JSON")

    assert 'duly_tasks_quarantined_total{queue="low",reason="unknown_kind"} 1.0' in text()
    assert 'duly_tasks_quarantined_total{queue="low",reason="unreadable"} 1.0' in text()


@pytest.mark.parametrize(
    ("attempted", "state", "archived"),
    [
        (False, TaskState.ARCHIVED, 1.0),
        (False, TaskState.QUARANTINED, 0.0),
        (True, TaskState.ARCHIVED, 0.0),
    ],
)
def test_a_task_that_is_archived_without_an_attempt_is_counted_too(
    counts, text, attempted, state, archived
):
    counts.know("low", "note")

    counts.dead_lettered(
        DeadLetter(
            queue="low", task_id="t1", kind="note", state=state, reason="", attempted=attempted
        )
    )

    assert f'duly_tasks_total{{kind="note",outcome="archived",queue="low"}} {archived}' in text()
