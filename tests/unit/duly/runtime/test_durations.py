"""Durations as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.runtime.durations import parse_duration, write_duration


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(days=90), "90d"),
        (timedelta(hours=36), "36h"),
        (timedelta(minutes=90), "90m"),
        (timedelta(seconds=5), "5s"),
        (timedelta(seconds=1.25), "1250ms"),
        (timedelta(0), "0s"),
    ],
)
def test_the_largest_unit_that_fits_is_written(value, text):
    assert write_duration(value) == text


@given(st.integers(min_value=0, max_value=10**15).map(lambda ms: timedelta(milliseconds=ms)))
def test_what_is_written_is_read_as_the_same(value):
    assert parse_duration(write_duration(value)) == value


@pytest.mark.parametrize("text", ["7.776e+06s", "soon", "-5s", "5 weeks"])
def test_what_is_no_duration_is_left_alone(text):
    assert parse_duration(text) == text


def test_what_no_timedelta_holds_is_left_alone():
    assert parse_duration("9" * 30) == "9" * 30
