"""Guessing gets slower, for those who guess."""

import pytest

from duly.testing.clock import FrozenClock
from duly_monitor.attempts import (
    FREE,
    FREE_OF_ONE_SENDER,
    LONGEST_WAIT_SECONDS,
    Attempts,
)


@pytest.fixture
def clock():
    return FrozenClock()


@pytest.fixture
def attempts(clock):
    return Attempts(clock)


def fail(attempts, times, peer="192.0.2.1", user="ada"):
    for _ in range(times):
        attempts.failed(peer, user)


def test_some_mistakes_are_free(attempts):
    fail(attempts, FREE - 1)

    assert attempts.wait("192.0.2.1", "ada") == 0


def test_the_wait_doubles_up_to_a_bound_and_ends(attempts, clock):
    waits = []
    fail(attempts, FREE - 1)
    for _ in range(30):
        fail(attempts, 1)
        waits.append(attempts.wait("192.0.2.1", "ada"))

    assert waits[:3] == [2, 4, 8]
    assert waits[-1] == LONGEST_WAIT_SECONDS
    clock.advance(LONGEST_WAIT_SECONDS)
    assert attempts.wait("192.0.2.1", "ada") == 0


def test_others_do_not_wait(attempts):
    fail(attempts, 12)

    assert attempts.wait("192.0.2.2", "ada") == 0
    assert attempts.wait("192.0.2.1", "bob") == 0


def test_one_sender_waits_whatever_the_names(attempts):
    for number in range(FREE_OF_ONE_SENDER):
        attempts.failed("192.0.2.1", f"user{number}")

    assert attempts.wait("192.0.2.1", "another") > 0


def test_an_ipv6_customer_is_one_sender(attempts):
    for number in range(FREE_OF_ONE_SENDER):
        attempts.failed(f"2001:db8:1:2::{number:x}", f"user{number}")

    assert attempts.wait("2001:db8:1:2:ffff::1", "x") > 0
    assert attempts.wait("2001:db8:1:3::1", "x") == 0


def test_success_forgets_the_name_only(attempts):
    fail(attempts, FREE_OF_ONE_SENDER)
    attempts.succeeded("192.0.2.1", "ada")

    assert attempts.wait("192.0.2.1", "bob") > 0


def test_old_failures_are_forgotten(attempts, clock):
    fail(attempts, FREE)
    clock.advance(4_000)
    fail(attempts, 1)

    assert attempts.wait("192.0.2.1", "ada") == 0


def test_what_is_remembered_is_bounded(attempts):
    for number in range(20_000):
        attempts.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "x")

    assert len(attempts._failures) <= 10_000
