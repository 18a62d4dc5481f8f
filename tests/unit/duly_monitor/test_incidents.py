"""Errors get ids; each is logged with its traceback, and not again and again."""

import pytest
from structlog.testing import capture_logs

from duly.testing.clock import FrozenClock
from duly_monitor.incidents import Incidents, identify


def caught(text="x"):
    with pytest.raises(ValueError, match=text) as found:
        raise ValueError(text)
    return found.value


def test_the_same_error_has_the_same_id_and_is_logged_once_a_minute():
    clock = FrozenClock()
    incidents = Incidents(clock)

    with capture_logs() as logs:
        ids = {incidents.record(caught(f"order {number}")) for number in range(10)}
        assert len(ids) == len(logs) == 1
        clock.advance(61)
        incidents.record(caught())

    assert len(logs) == 2
    assert "ValueError: order 0" in logs[0]["traceback"]


def test_secrets_in_errors_do_not_reach_the_log():
    with capture_logs() as logs:
        Incidents(FrozenClock()).record(caught("password='hunter2'"))

    assert "hunter2" not in str(logs)


def test_errors_of_other_places_have_other_ids():
    with pytest.raises(ValueError, match="x") as found:
        raise ValueError("x")

    assert identify(found.value) != identify(caught())


def test_no_more_errors_are_remembered_than_a_few_hundred():
    incidents = Incidents(FrozenClock())

    with capture_logs():
        for number in range(1_000):
            incidents.record(type(f"Odd{number}", (Exception,), {})())

    assert len(incidents._logged) <= 256
