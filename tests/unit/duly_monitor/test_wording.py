"""Numbers and times in words."""

from datetime import UTC, datetime, timedelta

import pytest

from duly_monitor import wording

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.24, "240 ms"),
        (1, "1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (252, "4 min 12 s"),
        (3_600, "1 h"),
        (3_660, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (-5, "0 ms"),
        (86_400 * 1_234, "1,234 d"),
    ],
)
def test_duration(seconds, words):
    assert wording.duration(timedelta(seconds=seconds)) == words


def test_no_duration_is_a_dash():
    assert wording.duration(None) == "\u2013"


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


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_536, "1.5 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 50, "3,072.0 TiB"),
    ],
)
def test_size(size, words):
    assert wording.size(size) == words


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
