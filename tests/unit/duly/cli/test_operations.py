"""`duly tasks run|archive|delete|cancel` on many tasks, chosen by what they are."""

import pytest

from duly.engine.inspection.bulk import BulkProgress

MANY = ("tasks", "run", "--queue", "default", "--state", "archived")


def test_all_that_match_are_run(duly):
    outcome = duly(*MANY, "--kind", "check_pending_orders", "--yes")

    assert (outcome.exit_code, outcome.out) == (0, "1 task re-queued, attempts reset\n")
    assert "1 task matches; examined the only task" in outcome.err
    assert duly.inspector.done == [("run", "default", "0198f00d")]


def test_a_dry_run_shows_them_and_does_nothing(duly):
    outcome = duly(*MANY, "--dry-run")

    assert "0198f00d" in outcome.out
    assert duly.inspector.done == []


def test_without_a_terminal_a_yes_is_wanted(duly):
    outcome = duly(*MANY)

    assert outcome.exit_code == 2
    assert outcome.err.endswith(
        "duly: Run 1 task? Not confirmed: stdin is not a terminal; use --yes\n"
    )
    assert duly.inspector.done == []


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--kind", "other"), id="kind"),
        pytest.param(("--error", "TypeError"), id="error"),
        pytest.param(("--payload", "note=blue"), id="payload"),
        pytest.param(("--after", "2026-01-03T00:00"), id="after"),
        pytest.param(("--before", "2026-01-02T11:00+00:00"), id="before"),
    ],
)
def test_what_does_not_match_is_left_alone(duly, words):
    outcome = duly(*MANY, *words)

    assert (outcome.exit_code, outcome.out) == (0, "no matching tasks\n")
    assert duly.inspector.done == []


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--error", "valueerror"), id="error"),
        pytest.param(("--payload", "note=\x1b[31mred[/red]"), id="payload"),
        pytest.param(("--after", "2026-01-02T12:00"), id="after"),
        pytest.param(("--before", "1s"), id="before"),
    ],
)
def test_what_matches_is_told_as_json(duly, words):
    assert duly(*MANY, *words, "--yes", "--json").json == {
        "operation": "run",
        "dry_run": False,
        "matched": 1,
        "done": 1,
        "gone": 0,
        "failed": 0,
        "ineligible": 0,
        "scanned": 1,
        "total": 2,
        "complete": True,
    }


def test_all_means_every_state_that_the_operation_applies_to(duly):
    assert duly("tasks", "run", "--all", "--yes").out == "1 task re-queued, attempts reset\n"
    assert duly("tasks", "archive", "--all", "--yes").out == "no matching tasks\n"


def test_the_bound_of_the_search_is_said(duly):
    duly.inspector.held *= 3

    outcome = duly(*MANY, "--window", "2", "--dry-run")

    assert "examined 2 of 2 tasks: there may be more" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param((), "no tasks selected: give ids, or --state, --kind", id="nothing said"),
        pytest.param(("1", "--kind", "k"), "cannot be combined", id="both"),
        pytest.param(("--payload", "note"), "'note' has no =; use FIELD=VALUE", id="payload"),
        pytest.param(("--after", "soon"), "invalid time 'soon': use 2026-01-31T12:00", id="time"),
        pytest.param(("--state", "archvied"), "(did you mean 'archived'?)", id="state"),
        pytest.param(
            ("--state", "active", "--dry-run"),
            "--state: run is for tasks that are aggregating, archived, quarantined, retry, "
            "scheduled, not active",
            id="state that does not allow it",
        ),
    ],
)
def test_misuse_is_one_line(duly, words, message):
    outcome = duly("tasks", "run", *words)

    assert outcome.exit_code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert duly.inspector.done == []


def test_search_shows_tasks_and_its_bound(duly):
    outcome = duly("tasks", "search", "default", "--error", "valueerror")

    assert "archived" in outcome.out
    assert outcome.out.endswith("examined the only task\n")
    assert duly("tasks", "search", "--kind", "other", "--json").json["tasks"] == []


def test_failures_are_a_line_for_each_cause(duly):
    duly.inspector.held *= 2

    outcome = duly("failures", "ls")

    assert outcome.out.splitlines()[1].split()[:2] == ["2", "check_pending_orders"]
    (group,) = duly("failures", "ls", "--queue", "default", "--json").json["groups"]
    assert (group["count"], group["queues"]) == (2, ["default"])


def test_an_interruption_tells_how_far_it_came(duly):
    async def interrupted(planned, *, report, **_):
        report(BulkProgress(total=len(planned.tasks), done=1))
        raise KeyboardInterrupt

    duly.inspector.bulk.execute = interrupted

    outcome = duly(*MANY, "--yes")

    assert outcome.exit_code == 130
    assert "interrupted: 1 of 1 task re-queued, attempts reset" in outcome.err
