"""`duly queues drained`."""

import json
from dataclasses import replace

import pytest


@pytest.fixture
def before(tmp_path):
    """A file with the queues that a release had."""
    file = tmp_path / "queues"
    names = ("critical", "default", "low", "old", "reports")
    file.write_text(json.dumps({name: {"concurrency": 1} for name in names} | {"gone": None}))
    return file


@pytest.fixture
def report(duly):
    """Changes what the inspector says of the queue `default`."""

    def change(**facts):
        critical, default = duly.inspector.reports
        duly.inspector.reports = [critical, replace(default, **facts)]

    return change


def test_a_queue_without_work_is_drained(duly):
    outcome = duly("queues", "drained", "critical")

    assert (outcome.exit_code, outcome.out) == (0, "queue critical is drained\n")


def test_work_is_counted_by_state_and_the_remedy_is_named(duly, report):
    report(paused_since=None)

    outcome = duly("queues", "drained", "critical", "default")

    assert outcome.exit_code == 1
    assert outcome.err.startswith(
        "duly: queue default holds 16 tasks (12 waiting, 3 active, 1 waiting for a group): stop "
        "what enqueues to it (duly schedules ls)"
    )
    assert "duly tasks run ID --to-queue OTHER" in outcome.err


def test_nobody_waits_for_a_paused_queue(duly):
    outcome = duly("queues", "drained", "default", "--wait", "1d")

    assert outcome.exit_code == 1
    assert outcome.err.startswith("duly: queue default is paused and holds 16 tasks")


def test_waiting_ends_when_the_work_does(duly, report, monkeypatch):
    report(paused_since=None)
    looks = []
    ask = duly.inspector.queues.get

    async def get(name):
        looks.append(name)
        if len(looks) > 2:
            report(waiting=0, active=0)
        return await ask(name)

    async def no_joins(_):
        return []

    duly.inspector.queues.get, duly.inspector.joins.list = get, no_joins
    monkeypatch.setattr("duly.cli.drained._BETWEEN_LOOKS_S", 0.0)

    outcome = duly("queues", "drained", "critical", "default", "--wait", "1d")

    assert (outcome.exit_code, looks) == (0, ["critical", "default", "default"])


def test_what_is_left_after_the_wait_is_said(duly, report, monkeypatch):
    report(paused_since=None)
    monkeypatch.setattr("duly.cli.drained._BETWEEN_LOOKS_S", 0.0)

    outcome = duly("queues", "drained", "default", "--wait", "10ms")

    assert outcome.exit_code == 1
    assert "1 waiting for a group) after 10ms: stop" in outcome.err


def test_what_was_declared_and_is_no_more_is_checked(duly, before):
    outcome = duly("queues", "drained", "--declared-before", str(before))

    assert (outcome.exit_code, outcome.out) == (
        0,
        "queue old is drained\nqueue reports is drained\n",
    )


def test_a_queue_that_was_taken_away_and_holds_work_is_refused(duly, before, monkeypatch):
    monkeypatch.setenv("DULY_QUEUES", json.dumps({"default": None}))

    outcome = duly("queues", "drained", "--declared-before", str(before))

    assert outcome.exit_code == 1
    assert "queue default is paused and holds 16 tasks" in outcome.err


def test_without_the_file_nothing_was_declared_and_no_broker_is_asked(duly, tmp_path):
    duly.inspector = None

    outcome = duly("queues", "drained", "--declared-before", str(tmp_path / "none"))

    assert (outcome.exit_code, outcome.out) == (0, "no queue is taken away\n")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_file_of_something_else_is_refused(duly, tmp_path, content):
    file = tmp_path / "queues"
    file.write_text(content)

    outcome = duly("queues", "drained", "--declared-before", str(file))

    assert outcome.exit_code == 2
    assert f"--declared-before {file}" in outcome.err


def test_names_and_a_file_exclude_each_other(duly, before):
    for words in ((), ("low", "--declared-before", str(before))):
        outcome = duly("queues", "drained", *words)
        assert outcome.exit_code == 2
        assert "give either names of queues or --declared-before" in outcome.err
