"""Durations and sizes in words."""

from datetime import timedelta

import pytest

from duly import quantities


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
    assert quantities.duration(timedelta(seconds=seconds)) == words


def test_no_duration_is_a_dash():
    assert quantities.duration(None) == "\u2013"


@pytest.mark.parametrize(("seconds", "words"), [(252, "4 min"), (0.24, "240 ms"), (90_000, "1 d")])
def test_about(seconds, words):
    assert quantities.about(timedelta(seconds=seconds)) == words


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
    assert quantities.size(size) == words
