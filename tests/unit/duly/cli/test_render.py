"""Words for times, and safe text."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.cli import render

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.0004, "0s"),
        (0.35, "350ms"),
        (1.9, "1s"),
        (59, "59s"),
        (60, "1m"),
        (252, "4m 12s"),
        (3600, "1h"),
        (3605, "1h"),
        (7260, "2h 1m"),
        (86_400 * 3 + 7200, "3d 2h"),
        (-252, "-4m 12s"),
    ],
)
def test_duration_has_two_units_at_most(seconds, words):
    assert render.duration(timedelta(seconds=seconds)) == words


def test_no_duration_is_a_dash():
    assert render.duration(None) == "-"


def test_past_and_future_read_differently():
    assert render.ago(NOON - timedelta(seconds=5), NOON) == "5s ago"
    assert render.ago(NOON + timedelta(seconds=5), NOON) == "in 5s"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é ✓", "plain é ✓"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines", "two\\nlines"),
        ("c1\x9b31m", "c1\\x9b31m"),
        ("right\u202eleft", "right\\u202eleft"),
    ],
)
def test_control_characters_are_shown_not_obeyed(text, shown):
    assert render.one_line(text) == shown


def test_piped_rows_are_never_folded(capsys):
    render.table(("id", "~why"), [("1", "x" * 500)], empty="")

    assert "x" * 500 in capsys.readouterr().out.splitlines()[1]
