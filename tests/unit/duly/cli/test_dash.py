"""`duly dash`: how it is called; what it shows is tested in tests/integration/cli."""

import sys

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(("--refresh", "soon"), "'soon' is no duration", id="no duration"),
        pytest.param(("--refresh", "1ms"), "write 200ms or more", id="too often"),
    ],
)
def test_misuse_is_one_line(duly, words, message):
    outcome = duly("dash", *words)

    assert outcome.exit_code == 2
    assert message in outcome.err


def test_without_its_library_it_says_what_to_install(duly, monkeypatch):
    monkeypatch.delitem(sys.modules, "duly.cli.board", raising=False)
    monkeypatch.setitem(sys.modules, "textual.app", None)

    outcome = duly("dash")

    assert outcome.exit_code == 2
    assert "pip install 'duly[dash]'" in outcome.err
