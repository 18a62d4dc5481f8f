"""Numbers and times in words."""

from datetime import UTC, datetime, timedelta

import pytest

from duly_monitor import wording

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "now"),
        (-0.4, "now"),
        (-5, "5 s ago"),
        (5, "in 5 s"),
        (-252, "4 min 12 s ago"),
        (-3_000, "50 min ago"),
        (-19_200, "5 h ago"),
        (82_800, "in 23 h"),
    ],
)
def test_relative(seconds, words):
    assert wording.relative(NOW + timedelta(seconds=seconds), NOW) == words


def test_iso_is_utc_to_the_millisecond():
    assert wording.iso(NOW) == "2026-11-25T12:00:00.000Z"


@pytest.mark.parametrize(
    ("policy", "words"), [("queue_one", "enqueue at most one"), ("of-a-newer-version",) * 2]
)
def test_overlap(policy, words):
    assert wording.overlap(policy) == words


@pytest.mark.parametrize(
    ("policy", "words"), [("one", "run the newest"), ("of-a-newer-version",) * 2]
)
def test_catch_up(policy, words):
    assert wording.catch_up(policy) == words
