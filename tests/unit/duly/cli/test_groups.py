"""`duly groups`."""

from dataclasses import replace

import pytest


def test_listing_tells_size_and_how_often_merging_was_tried(duly):
    duly.inspector.reports[1] = replace(duly.inspector.reports[1], aggregating=4)

    out = duly("groups", "ls").out

    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["default", "mention:ada", "2"],
        ["default", "mention:bob", "1"],
        ["default", "sms:bob", "1"],
    ]
    assert duly("groups", "ls", "default").out == out


def test_listing_one_queue_as_json(duly):
    assert duly("groups", "ls", "critical", "--json").json == {"groups": []}
    assert duly("groups", "ls", "default", "--json").json["groups"][0] == {
        "kind": "mention",
        "name": "ada",
        "queue": "default",
        "size": 2,
        "oldest": "2026-01-02T12:00:00+00:00",
        "due": "2026-01-02T12:00:00+00:00",
        "tries": 1,
    }


def test_no_groups_are_said_in_words(duly):
    duly.inspector.grouped = []

    assert duly("groups", "ls").out == "no groups\n"


def test_inspecting_shows_the_oldest_tasks(duly):
    out = duly("groups", "inspect", "default", "mention:ada").out

    assert "group   ada" in out
    assert '{"post": 1}' in out
    assert duly.inspector.asked == {
        "group": ("default", "mention", "ada"),
        "limit": 20,
        "newest": False,
    }


def test_inspecting_as_json(duly):
    found = duly("groups", "inspect", "default", "ada", "--json").json

    assert (found["kind"], found["size"]) == ("mention", 2)
    assert [task["id"] for task in found["tasks"]] == ["m-1", "m-2"]


@pytest.mark.parametrize("operation", ["run", "archive", "delete"])
def test_every_task_of_a_group_is_operated_on(duly, operation):
    outcome = duly("groups", operation, "default", "ada", "--yes")

    assert outcome.exit_code == 0
    assert outcome.out.startswith("2 tasks ")
    assert duly.inspector.done == [(operation, "default", f"m-{n}") for n in (1, 2)]


def test_large_groups_are_read_page_by_page(duly):
    duly.inspector.grouped = [replace(duly.inspector.grouped[0], size=1_234)]

    done = duly("groups", "delete", "default", "ada", "--yes", "--json").json
    some = duly("groups", "delete", "default", "ada", "--yes", "--json", "--limit", "700").json

    assert (done["done"], done["complete"]) == (1_234, True)
    assert (some["done"], some["complete"]) == (700, False)


def test_a_dry_run_does_nothing(duly):
    outcome = duly("groups", "run", "default", "ada", "--dry-run")

    assert "m-2" in outcome.out
    assert duly.inspector.done == []


def test_without_a_terminal_a_yes_is_wanted(duly):
    outcome = duly("groups", "delete", "default", "ada")

    assert outcome.exit_code == 2
    assert outcome.err.endswith(
        "Delete 2 tasks? Not confirmed: stdin is not a terminal; use --yes\n"
    )
    assert duly.inspector.done == []


def test_a_name_that_several_kinds_have_is_not_guessed(duly):
    outcome = duly("groups", "run", "default", "bob", "--yes")

    assert (outcome.exit_code, outcome.err) == (
        2,
        "duly: group 'bob' is ambiguous: use one of mention:bob, sms:bob\n",
    )


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("default", "mention:adda"), "'mention:adda' in queue default (did you mean 'mention:ad"),
        (("default", "adaa"), "(did you mean 'ada'?)"),
        (("defualt", "ada"), "no queue 'defualt' (did you mean 'default'?)"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(duly, words, meant):
    outcome = duly("groups", "inspect", *words)

    assert outcome.exit_code == 1
    assert meant in outcome.err
