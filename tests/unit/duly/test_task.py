import threading
from datetime import timedelta

import pytest

from duly.task import NOTE_LIMIT, Outside, Progress, TaskContext


def context(**changes):
    return TaskContext(**{"id": "t1", "queue": "default", "kind": "check"} | changes)


@pytest.mark.parametrize(
    ("said", "kept"), [(0.4, 0.4), (-1, 0.0), (7, 1.0), (float("nan"), 0.0), (float("inf"), 1.0)]
)
def test_progress_is_a_share(said, kept):
    one = context()
    one.progress(said, "x" * 1000)

    assert one.reported == Progress(kept, "x" * NOTE_LIMIT)


def test_progress_may_be_told_from_any_thread():
    told = []
    one = context(outside=Outside(progressed=told.append))
    thread = threading.Thread(target=one.progress, args=(0.5,))
    thread.start()
    thread.join()

    assert told == [one]


def test_remaining_counts_down_on_the_brokers_clock_and_stops_at_zero():
    outside = Outside(now_ms=lambda: 5_000)

    assert context(outside=outside).remaining() is None
    assert context(outside=outside, deadline_ms=6_500).remaining() == timedelta(seconds=1.5)
    assert context(outside=outside, deadline_ms=4_000).remaining() == timedelta(0)


def test_an_idempotency_key_is_the_tasks_and_the_steps():
    key = context().idempotency_key("charge")

    assert key == context(attempt=3).idempotency_key("charge")
    assert key == "053d3e38-45f0-5849-8597-06b72c6e0f72", "as long as tasks live"
    others = [
        context().idempotency_key("mail"),
        context(id="t2").idempotency_key("charge"),
        context(queue="low").idempotency_key("charge"),
    ]
    assert len({key, *others}) == 4
