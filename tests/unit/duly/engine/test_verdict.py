from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from duly.engine.middleware import Outcome
from duly.engine.verdict import Failed, decide
from duly.errors import Retry, Revoke, Skip
from duly.job import Policy
from duly.task import AttemptOutcome

NOW = 1_767_614_400_000
CONSTANT = {"backoff": "constant", "backoff_base": timedelta(seconds=1)}


def verdict(error=None, *, policy=None, attempts=1, max_attempts=3, **options):
    return decide(
        Failed(
            error=error or ValueError("away"),
            policy=policy or Policy(**CONSTANT),
            attempts=attempts,
            max_attempts=max_attempts,
            now_ms=NOW,
            **options,
        )
    )


def not_counted(error):
    return not isinstance(error, ConnectionError)


def excusing(**options):
    return Policy(**CONSTANT, is_failure=not_counted, **options)


def test_a_failure_is_retried_until_the_attempts_are_used_up():
    assert verdict(attempts=2).outcome is Outcome.RETRIED
    assert verdict(attempts=3).outcome is Outcome.ARCHIVED


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Revoke(), Outcome.REVOKED), (Skip(), Outcome.ARCHIVED), (Retry(), Outcome.RETRIED)],
)
def test_what_the_handler_asks_for_comes_first(error, outcome):
    assert verdict(error, policy=Policy(is_failure=lambda _: False)).outcome is outcome


def test_a_retry_at_the_time_that_the_handler_names():
    assert verdict(Retry(after=timedelta(hours=2))).retry_in == timedelta(hours=2)


def test_no_retry_is_scheduled_past_the_deadline():
    found = verdict(expires_ms=NOW + 1000)

    assert (found.outcome, found.how) == (Outcome.ARCHIVED, AttemptOutcome.FAILED)
    assert found.note == "no attempt more: its deadline 2026-01-05T12:00:01Z comes first"
    assert verdict(expires_ms=NOW + 1001).outcome is Outcome.RETRIED


def test_an_attempt_that_the_deadline_ended_is_expired():
    for facts in ({"expires_ms": NOW}, {"expires_ms": NOW + 9, "timed_out": True, "expired": True}):
        found = verdict(**facts)
        assert (found.outcome, found.how) == (Outcome.ARCHIVED, AttemptOutcome.EXPIRED)


def test_an_error_that_is_no_failure_is_retried_even_after_the_last_attempt():
    found = verdict(ConnectionError(), policy=excusing(), attempts=3)

    assert (found.outcome, found.how) == (Outcome.EXCUSED, AttemptOutcome.EXCUSED)
    assert found.retry_in == timedelta(seconds=1)
    assert verdict(ValueError(), policy=excusing(), attempts=3).outcome is Outcome.ARCHIVED


def test_excuses_are_used_up_so_that_no_task_runs_for_ever():
    policy = excusing(max_excuses=2)

    assert verdict(ConnectionError(), policy=policy, excuses=1).outcome is Outcome.EXCUSED
    assert verdict(ConnectionError(), policy=policy, excuses=2).outcome is Outcome.RETRIED
    assert verdict(ConnectionError(), policy=policy, excuses=2, attempts=3).outcome is (
        Outcome.ARCHIVED
    )


def test_excuses_end_with_the_deadline():
    found = verdict(ConnectionError(), policy=excusing(), expires_ms=NOW + 500)

    assert found.outcome is Outcome.ARCHIVED


def test_a_broken_predicate_excuses_nothing_and_is_told_once():
    policy = Policy(is_failure=lambda _: 1 / 0)

    with capture_logs() as lines:
        assert [verdict(policy=policy).outcome for _ in range(2)] == [Outcome.RETRIED] * 2

    assert len(lines) == 1
