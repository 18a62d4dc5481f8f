"""`duly dash`: how it is called; what it shows is tested in tests/integration/cli."""

import sys

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(("--refresh", "soon"), "invalid duration 'soon'", id="no duration"),
        pytest.param(("--refresh", "1ms"), "use 200ms or more", id="too often"),
    ],
)
def test_misuse_is_one_line(duly, words, message):
    outcome = duly("dash", *words)

    assert outcome.exit_code == 2
    assert message in outcome.err


def test_without_a_terminal_it_refuses(duly):
    outcome = duly("dash")

    assert outcome.exit_code == 2
    assert outcome.err.count("\n") == 1
    assert "needs a terminal" in outcome.err


def test_without_its_library_it_says_what_to_install(duly, monkeypatch):
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "textual", None)

    outcome = duly("dash")

    assert outcome.exit_code == 2
    assert "pip install 'duly[dash]'" in outcome.err
