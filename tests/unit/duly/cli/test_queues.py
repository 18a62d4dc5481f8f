"""`duly queues`."""

import io

import pytest

from duly.engine.storage.reports import QueueReport


class Terminal(io.StringIO):
    """A person at the keyboard."""

    def isatty(self):
        return True


def test_listing_fits_a_narrow_terminal(duly):
    outcome = duly("queues", "ls")

    assert outcome.exit_code == 0
    assert "4m 12s" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_json_has_seconds_and_iso_instants(duly):
    critical, default = duly("queues", "ls", "--json").json["queues"]

    assert critical["oldest_waiting"] is None
    assert default["oldest_waiting"] == 252.0
    assert default["paused_since"] == "2026-01-02T12:00:00+00:00"
    assert default["processed_per_minute"] == 36


def test_inspect_shows_the_named_queues_only(duly):
    outcome = duly("queues", "inspect", "default")

    assert "paused          since 2026-01-02 12:00:00Z" in outcome.out
    assert "critical" not in outcome.out


def test_inspect_without_names_shows_all(duly):
    names = [queue["name"] for queue in duly("queues", "inspect", "--json").json["queues"]]

    assert names == ["critical", "default"]


def test_pause_and_resume_reach_every_named_queue(duly):
    duly("queues", "pause", "critical", "default")
    duly("queues", "resume", "default")

    assert duly.inspector.done == [
        ("pause", "critical"),
        ("pause", "default"),
        ("resume", "default"),
    ]


def test_misspelt_queue_gets_a_suggestion_and_nothing_happens(duly):
    outcome = duly("queues", "pause", "defalt")

    assert outcome.exit_code == 1
    assert outcome.err == "duly: no queue 'defalt' (did you mean 'default'?)\n"
    assert duly.inspector.done == []


def test_no_queues_is_said_in_words(duly):
    duly.inspector.reports = []

    assert duly("queues", "ls").out == "no queues: nothing has been enqueued yet\n"
    assert duly("queues", "ls", "--json").json == {"queues": []}


def test_inspect_weighs_the_queues(duly):
    assert "memory          1.5 KiB" in duly("queues", "inspect", "default").out
    assert duly("queues", "inspect", "--json").json["queues"][0]["memory_bytes"] == 1536


def test_history_counts_by_the_minute(duly):
    words = ("queues", "history", "default", "--minutes", "5")

    assert duly(*words).out.splitlines()[1].split() == ["2026-01-02", "12:00:00Z", "7", "1"]
    row = {"queue": "default", "at": "2026-01-02T12:00:00+00:00", "processed": 7, "failed": 1}
    assert duly(*words, "--json").json == {"minutes": [row]}
    assert duly.inspector.asked == {"name": "default", "count": 5}


def test_history_counts_by_the_day_and_for_several_queues(duly):
    words = ("queues", "history", "default", "critical", "--days", "10")

    assert [line.split() for line in duly(*words).out.splitlines()] == [
        ["queue", "day", "processed", "failed", "crashed"],
        ["default", "2026-01-02", "90", "4", "1"],
        ["critical", "2026-01-02", "90", "4", "1"],
    ]
    assert duly(*words, "--json").json["days"][0]["crashed"] == 1
    assert duly.inspector.asked == {"name": "critical", "days": 10}


def test_minutes_and_days_exclude_each_other(duly):
    outcome = duly("queues", "history", "default", "--days", "10", "--minutes", "5")

    assert outcome.exit_code == 2
    assert "cannot be combined" in outcome.err


def test_removal_without_a_terminal_wants_a_yes(duly):
    outcome = duly("queues", "rm", "default", "--force")

    assert outcome.exit_code == 2
    assert outcome.err == (
        "duly: Remove default and 17 tasks? Not confirmed: stdin is not a terminal; use --yes\n"
    )
    assert duly.inspector.done == []


@pytest.mark.parametrize(("answer", "exit_code", "done"), [("y\n", 0, 1), ("n\n", 1, 0)])
def test_removal_asks_at_a_terminal(duly, monkeypatch, answer, exit_code, done):
    monkeypatch.setattr("sys.stdin", Terminal(answer))

    outcome = duly("queues", "rm", "default", "--force")

    assert outcome.exit_code == exit_code
    assert duly.inspector.done == [("remove", "default", True)] * done


def test_removal_tells_what_went(duly):
    outcome = duly("queues", "rm", "default", "critical", "--force", "--yes")

    assert outcome.out == (
        "queue default removed, with 17 tasks\nqueue critical removed, with 17 tasks\n"
    )


def test_locks_are_listed_with_their_holders(duly):
    outcome = duly("queues", "locks", "default")

    assert "0198f00d" in outcome.out
    assert "more locks exist" in outcome.out
    assert "no unique locks" in duly("queues", "locks", "critical").out


def test_locks_as_json(duly):
    (lock,) = duly("queues", "locks", "default", "--json").json["locks"]

    assert lock == {
        "digest": "ab" * 16,
        "task_id": "0198f00d",
        "expires_at": "2026-01-02T12:00:00+00:00",
    }


def test_a_queue_that_cannot_be_read_hides_no_other_and_fails_the_command(duly):
    duly.inspector.reports.append(QueueReport(name="odd", error="queue odd cannot be read: x"))

    for words in (("queues", "ls"), ("queues", "ls", "--json"), ("stats",), ("stats", "--json")):
        outcome = duly(*words)

        assert outcome.exit_code == 1
        assert "default" in outcome.out
        assert outcome.err == "duly: queue odd cannot be read: x\n"
    assert "unreadable" in duly("queues", "ls").out
