"""One sentence for the state of a queue."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.reports import QueueReport
from duly_monitor.health import Health, Level, of_queue, overall

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MINUTES = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        ({"servers": 1}, Level.OK, "healthy, idle"),
        ({"servers": 1, "processed_per_minute": 312}, Level.OK, "312 done in the last minute"),
        (
            {"servers": 1, "waiting": 3, "oldest_waiting": 5 * MINUTES / 60},
            Level.OK,
            "busy, 3 tasks",
        ),
        ({}, Level.NOTE, "no worker serves it, nothing waits"),
        (
            {"waiting": 1, "oldest_waiting": 3 * MINUTES},
            Level.BAD,
            "no worker serves it, 1 task waits, the oldest for 3 min",
        ),
        ({"active": 2}, Level.BAD, "2 tasks will be taken over"),
        (
            {"servers": 1, "waiting": 12, "paused_since": NOW - 10 * MINUTES},
            Level.WARN,
            "paused for 10 min, 12 tasks wait",
        ),
        ({"servers": 2, "paused_since": NOW}, Level.WARN, "nothing waits"),
        (
            {"servers": 2, "waiting": 1_240, "oldest_waiting": 4.2 * MINUTES},
            Level.WARN,
            "behind, 1,240 tasks waiting, the oldest for 4 min 12 s",
        ),
        (
            {"servers": 1, "processed_per_minute": 8, "failed_per_minute": 5},
            Level.BAD,
            "5 of 8 attempts failed",
        ),
        (
            {"servers": 1, "processed_per_minute": 80, "failed_per_minute": 5},
            Level.NOTE,
            "5 of 80 attempts failed",
        ),
        ({"servers": 1, "quarantined": 1}, Level.WARN, "1 message in quarantine"),
        ({"servers": 1, "archived": 2}, Level.NOTE, "running well, 2 tasks failed earlier"),
    ],
)
def test_the_most_pressing_thing_is_said(facts, level, words):
    health = of_queue(QueueReport(name="default", **facts), NOW)

    assert health.level is level
    assert words in health.sentence


@pytest.mark.parametrize(
    ("levels", "level", "words"),
    [
        ({}, Level.NOTE, "No queue yet"),
        ({"a": Level.OK}, Level.OK, "Queue a is healthy."),
        ({"a": Level.OK, "b": Level.NOTE}, Level.OK, "All 2 queues are healthy."),
        ({"a": Level.OK, "b": Level.BAD}, Level.BAD, "b: sentence."),
        ({"a": Level.WARN, "b": Level.BAD}, Level.BAD, "b: sentence. 1 other queue needs"),
        (
            {"a": Level.WARN, "b": Level.BAD, "c": Level.BAD},
            Level.BAD,
            "b: sentence. 2 other queues need",
        ),
    ],
)
def test_overall_names_the_worst(levels, level, words):
    summed = overall({name: Health(each, "sentence") for name, each in levels.items()})

    assert summed.level is level
    assert summed.sentence.startswith(words)
