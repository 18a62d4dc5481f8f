"""`duly servers`."""

import pytest


def test_listing_shows_load_and_weights(duly):
    out = duly("servers", "ls").out

    assert "1/4" in out
    assert "default, low=3" in out


def test_json_has_the_running_tasks(duly):
    server = duly("servers", "ls", "--json").json["servers"][0]

    assert server["status"] == "running"
    assert server["running"][0]["queue"] == "low"


def test_a_stuck_task_is_seen_at_a_glance(duly):
    assert "1/4 (1 stuck)" in duly("servers", "ls").out


def test_listing_names_servers_as_the_other_verbs_want_them(duly):
    assert "host-1:7:aa" in duly("servers", "ls").out


@pytest.mark.parametrize(
    ("word", "done"),
    [("quiet", "quiet"), ("resume", "resume"), ("wake", "resume"), ("stop", "stop")],
)
def test_a_command_reaches_its_server(duly, word, done):
    outcome = duly("servers", word, "host-1:7:aa")

    assert outcome.exit_code == 0
    assert outcome.out.startswith("server host-1:7:aa ")
    assert duly.inspector.done == [(done, "host-1:7:aa")]


def test_the_old_word_for_resume_is_not_shown(duly):
    out = duly("servers", "--help").out

    assert "resume" in out
    assert "wake" not in out


def test_a_server_that_is_not_there_is_an_error_with_a_suggestion(duly):
    outcome = duly("servers", "quiet", "host-1:7:ab")

    assert outcome.exit_code != 0
    assert "did you mean 'host-1:7:aa'?" in outcome.err
    assert duly.inspector.done == []
