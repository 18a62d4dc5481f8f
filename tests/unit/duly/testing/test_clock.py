"""Frozen time moves only when a test moves it."""

from datetime import UTC, datetime, timedelta

import pytest

from duly.testing.clock import START, FrozenClock


def test_time_stands_still(frozen_clock):
    assert frozen_clock.now() == frozen_clock.now() == START
    assert frozen_clock.monotonic() == 0


def test_advance_moves_both_readings(frozen_clock):
    frozen_clock.advance(timedelta(seconds=1))
    frozen_clock.advance(0.5)

    assert frozen_clock.now() == START + timedelta(seconds=1.5)
    assert frozen_clock.monotonic() == 1.5


def test_set_moves_to_an_instant():
    clock = FrozenClock(datetime(2026, 3, 1, tzinfo=UTC))
    clock.set(datetime(2026, 3, 2, tzinfo=UTC))

    assert clock.monotonic() == 86_400


def test_time_never_goes_backwards(frozen_clock):
    with pytest.raises(ValueError, match="go back"):
        frozen_clock.advance(-1)


def test_start_needs_a_zone():
    with pytest.raises(ValueError, match="time zone"):
        FrozenClock(datetime(2026, 1, 1))  # noqa: DTZ001
