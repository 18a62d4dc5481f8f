"""One sentence for the state of a queue."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.engine.inspection.health import Fact, Health, Level, around, of_queue, overall, with_facts
from duly.engine.storage.reports import (
    BrokerReport,
    EntryReport,
    QueueReport,
    RunningTask,
    ServerReport,
    ServerStatus,
)
from duly.task import TaskState

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MINUTES = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        ({"servers": 1}, Level.OK, "healthy, idle"),
        ({"servers": 1, "processed_per_minute": 312}, Level.OK, "312 processed in the last minute"),
        (
            {"servers": 1, "waiting": 3, "oldest_waiting": 5 * MINUTES / 60},
            Level.OK,
            "busy, 3 tasks",
        ),
        ({}, Level.NOTE, "no workers, nothing waiting"),
        (
            {"waiting": 1, "oldest_waiting": 3 * MINUTES},
            Level.BAD,
            "no workers, 1 task waiting, the oldest for 3 min",
        ),
        ({"active": 2}, Level.BAD, "the next one will recover 2 tasks"),
        (
            {"servers": 1, "waiting": 12, "paused_since": NOW - 10 * MINUTES},
            Level.WARN,
            "paused for 10 min, 12 tasks waiting",
        ),
        ({"servers": 2, "paused_since": NOW}, Level.WARN, "nothing waiting"),
        (
            {"servers": 2, "waiting": 1_240, "oldest_waiting": 4.2 * MINUTES},
            Level.WARN,
            "behind, 1,240 tasks waiting, the oldest for 4 min",
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
        (
            {"servers": 1, "overdue": {TaskState.AGGREGATING: 5 * MINUTES}},
            Level.WARN,
            "a group is not merged, though due for 5 min",
        ),
        ({"servers": 1, "overdue": {TaskState.RETRY: MINUTES / 2}}, Level.OK, "healthy, idle"),
        ({"servers": 1, "quarantined": 1}, Level.WARN, "1 quarantined task: inspect"),
        ({"error": "queue default cannot be read: x"}, Level.BAD, "cannot be read"),
        ({"servers": 1, "archived": 2}, Level.NOTE, "healthy, 2 archived tasks"),
    ],
)
def test_what_is_the_matter_is_said(facts, level, words):
    health = of_queue(QueueReport(name="default", **facts), NOW)

    assert health.level is level
    assert words in health.sentence


def test_all_of_what_is_the_matter_is_said_the_worst_first():
    queue = QueueReport(
        name="default", paused_since=NOW - MINUTES, waiting=2, quarantined=3, archived=1,
        servers=1, failed_per_minute=4, processed_per_minute=4,
    )  # fmt: skip

    assert of_queue(queue, NOW) == Health(
        Level.BAD,
        "4 of 4 attempts failed in the last minute; paused for 1 min, 2 tasks waiting; "
        "3 quarantined tasks: inspect, then run or delete; 1 archived task",
    )


def entry(name="a", ago=MINUTES, **facts):
    return EntryReport(
        id=name, kind="k", queue="default", interval=MINUTES, overlap="skip",
        next_slot=NOW - ago, **facts,
    )  # fmt: skip


def server(**facts):
    return ServerReport(
        **{
            "id": "w:1:a", "host": "w", "pid": 1, "queues": {"default": 1}, "concurrency": 1,
            "started_at": NOW, "beat_at": NOW, "status": ServerStatus.RUNNING,
        } | facts
    )  # fmt: skip


def broker(used, limit):
    return BrokerReport(
        address="b:1", version="", memory_bytes=used, memory_limit_bytes=limit, clients=1,
        queues=(), slots={},
    )  # fmt: skip


STUCK = RunningTask(id="t", kind="slow", queue="default", started_at=NOW - MINUTES, stuck=True)


@pytest.mark.parametrize(
    ("entries", "servers", "brokers", "facts"),
    [
        pytest.param(
            [entry(ago=-MINUTES), entry(held=True), entry(paused_since=NOW)],
            [server()],
            [broker(1, None), broker(None, 100), broker(79, 100)],
            [],
            id="well",
        ),
        pytest.param(
            [entry(), entry("b", 3 * MINUTES), entry(held=True)], [], [],
            [(Level.BAD, "no scheduler is running: 2 entries are overdue, by up to 3 min")],
            id="no-scheduler",
        ),
        pytest.param(
            [entry(), entry("b", -MINUTES)], [], [], [(Level.WARN, "overdue for up to 1 min: a")],
            id="one-entry",
        ),
        pytest.param(
            [],
            [
                server(host=host, status=ServerStatus.LOST, beat_at=NOW - MINUTES)
                for host in "vwxyz"
            ] + [server(status=ServerStatus.QUIET)],
            [],
            [
                (Level.WARN, "5 workers lost, no heartbeat for 1 min: v, w, x and 2 more"),
                (Level.NOTE, "told to take no tasks: w"),
            ],
            id="workers",
        ),
        pytest.param(
            [], [server(running=(STUCK,))], [broker(80 << 20, 100 << 20), broker(99, 100)],
            [
                (Level.BAD, "broker b:1 uses 99 B of 100 B; full, it refuses tasks"),
                (Level.WARN, "1 task ignores cancellation, for up to 1 min: slow"),
                (Level.WARN, "broker b:1 uses 80.0 MiB of 100.0 MiB; full, it refuses tasks"),
            ],
            id="stuck-and-full",
        ),
    ],
)  # fmt: skip
def test_what_serves_the_queues_is_said_too(entries, servers, brokers, facts):
    found = around(entries, servers, brokers, NOW)

    assert [(fact.health.level, fact.health.sentence) for fact in found] == facts


@pytest.mark.parametrize(
    ("level", "fact", "words"),
    [
        (Level.OK, Level.BAD, "Down. All well."),
        (Level.NOTE, Level.WARN, "Down. All well."),
        (Level.BAD, Level.BAD, "All well."),
        (Level.OK, Level.NOTE, "All well."),
    ],
)
def test_a_worse_fact_comes_before_the_queues(level, fact, words):
    around_them = [Fact(Health(fact, "down"), "/servers")]

    assert with_facts(Health(level, "All well."), around_them).sentence == words


@pytest.mark.parametrize(
    ("levels", "level", "words"),
    [
        ({}, Level.NOTE, "No queues yet"),
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
