from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from duly.engine.middleware import Outcome
from duly.engine.storage.codec import TRACEBACK_LIMIT
from duly.engine.worker import retry
from duly.engine.worker.retry import LONGEST_WAIT, Failed, backoff, decide
from duly.errors import Retry, Revoke, Skip
from duly.job import Policy
from duly.task import AttemptOutcome

ERROR = ValueError("away")
NOW = 1_767_614_400_000
CONSTANT = {"backoff": "constant", "backoff_base": timedelta(seconds=1)}


@pytest.fixture(autouse=True)
def nothing_warned_of(monkeypatch):
    monkeypatch.setattr(retry, "_warned", set())


def decision(error=None, *, policy=None, attempts=1, max_attempts=3, **options):
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


def uncounting(**options):
    return Policy(**CONSTANT, is_failure=not_counted, **options)


def test_a_failure_is_retried_until_the_attempts_are_used_up():
    assert decision(attempts=2).outcome is Outcome.RETRIED
    assert decision(attempts=3).outcome is Outcome.ARCHIVED


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Revoke(), Outcome.REVOKED), (Skip(), Outcome.ARCHIVED), (Retry(), Outcome.RETRIED)],
)
def test_what_the_handler_asks_for_comes_first(error, outcome):
    assert decision(error, policy=Policy(is_failure=lambda _: False)).outcome is outcome


def test_a_wait_that_the_handler_has_chosen_comes_before_the_policy():
    assert decision(wait=timedelta(hours=1)).retry_in == timedelta(hours=1)
    assert decision(wait=timedelta(hours=1), attempts=3).retry_in is None
    assert decision(Retry(after=timedelta(0)), wait=timedelta(hours=1)).retry_in == timedelta(0)


def test_a_retry_at_the_time_that_the_handler_names():
    assert decision(Retry(after=timedelta(hours=2))).retry_in == timedelta(hours=2)


def test_no_retry_is_scheduled_past_the_deadline():
    found = decision(expires_ms=NOW + 1000)

    assert (found.outcome, found.how) == (Outcome.ARCHIVED, AttemptOutcome.FAILED)
    assert found.note == "no further attempt: its deadline 2026-01-05T12:00:01Z comes first"
    assert decision(expires_ms=NOW + 1001).outcome is Outcome.RETRIED


def test_an_attempt_that_the_deadline_ended_is_expired():
    for facts in ({"expires_ms": NOW}, {"expires_ms": NOW + 9, "timed_out": True, "expired": True}):
        found = decision(**facts)
        assert (found.outcome, found.how) == (Outcome.ARCHIVED, AttemptOutcome.EXPIRED)


def test_an_error_that_is_no_failure_is_retried_even_after_the_last_attempt():
    found = decision(ConnectionError(), policy=uncounting(), attempts=3)

    assert (found.outcome, found.how) == (Outcome.UNCOUNTED, AttemptOutcome.UNCOUNTED)
    assert found.retry_in == timedelta(seconds=1)
    assert decision(ValueError(), policy=uncounting(), attempts=3).outcome is Outcome.ARCHIVED


def test_uncounted_failures_are_bounded_so_that_no_task_runs_for_ever():
    policy = uncounting(max_uncounted_failures=2)

    assert (
        decision(ConnectionError(), policy=policy, uncounted_failures=1).outcome
        is Outcome.UNCOUNTED
    )
    assert (
        decision(ConnectionError(), policy=policy, uncounted_failures=2).outcome is Outcome.RETRIED
    )
    assert decision(ConnectionError(), policy=policy, uncounted_failures=2, attempts=3).outcome is (
        Outcome.ARCHIVED
    )


def test_uncounted_failures_end_with_the_deadline():
    found = decision(ConnectionError(), policy=uncounting(), expires_ms=NOW + 500)

    assert found.outcome is Outcome.ARCHIVED


def test_with_a_broken_predicate_every_error_counts_and_it_is_logged_once():
    policy = Policy(is_failure=lambda _: 1 / 0)

    with capture_logs() as lines:
        assert [decision(policy=policy).outcome for _ in range(2)] == [Outcome.RETRIED] * 2

    assert len(lines) == 1


class Odd:
    def __ge__(self, _):
        return True


def leaves(*_):
    raise KeyboardInterrupt


class MuteError(Exception):
    def __str__(self):
        raise SystemExit


def mute(*_):
    raise MuteError


@pytest.mark.parametrize("function", [leaves, mute, lambda: None], ids=["leaves", "mute", "wrong"])
def test_with_a_predicate_that_raises_anything_every_error_counts(function):
    policy = Policy(is_failure=function)

    with capture_logs() as lines:
        assert decision(policy=policy).outcome is Outcome.RETRIED

    assert [line["log_level"] for line in lines] == ["error"]


@pytest.mark.parametrize(
    ("after", "wait"),
    [
        (timedelta.max, LONGEST_WAIT),
        (timedelta.min, timedelta(0)),
        (timedelta(seconds=-1), timedelta(0)),
        (timedelta(0), timedelta(0)),
        (30, timedelta(seconds=1)),
        ("soon", timedelta(seconds=1)),
        (float("nan"), timedelta(seconds=1)),
    ],
)
def test_a_wait_is_bounded_and_one_that_is_none_is_the_policys(after, wait):
    found = decision(Retry("later", after=after))

    assert (found.outcome, found.retry_in) == (Outcome.RETRIED, wait)
    assert bool(found.note) is not isinstance(after, timedelta)


@pytest.mark.parametrize(
    "policy",
    [
        Policy(backoff="asynq"),
        Policy(backoff_base=LONGEST_WAIT, backoff_cap=LONGEST_WAIT),
        Policy(backoff="constant", backoff_base=LONGEST_WAIT, backoff_cap=LONGEST_WAIT),
        Policy(backoff=lambda *_: timedelta.max, backoff_cap=LONGEST_WAIT),
    ],
)
def test_every_wait_of_a_policy_is_bounded(policy):
    for attempt in (1, 2, 100, 10_000):
        for chance in (0.0, 0.999_999_999):
            assert timedelta(0) <= backoff(policy, attempt, ERROR, lambda: chance) <= LONGEST_WAIT  # noqa: B023


def seconds(wait):
    return wait.total_seconds()


def test_full_jitter_stays_below_a_ceiling_that_doubles_up_to_the_cap():
    policy = Policy(backoff_base=timedelta(seconds=2), backoff_cap=timedelta(seconds=10))

    ceilings = [backoff(policy, attempt, ERROR, lambda: 1.0) for attempt in (1, 2, 3, 4, 1000)]

    assert [seconds(wait) for wait in ceilings] == [2, 4, 8, 10, 10]
    assert backoff(policy, 3, ERROR, lambda: 0.0) == timedelta(0)


def test_asynqs_formula_and_the_constant():
    assert seconds(backoff(Policy(backoff="asynq"), 3, ERROR, lambda: 0.0)) == 2**4 + 15
    constant = Policy(backoff="constant", backoff_base=timedelta(hours=1))
    assert backoff(constant, 7, ERROR) == constant.backoff_cap


def test_a_function_is_asked_with_the_attempt_and_its_error():
    asked = []

    def by_error(attempt, error):
        asked.append((attempt, error))
        return timedelta(seconds=attempt)

    assert seconds(backoff(Policy(backoff=by_error), 3, ERROR)) == 3
    assert asked == [(3, ERROR)]


def test_a_functions_wait_does_not_exceed_the_cap():
    policy = Policy(backoff=lambda *_: timedelta.max, backoff_cap=timedelta(minutes=1))

    assert backoff(policy, 1, ERROR) == timedelta(minutes=1)


@pytest.mark.parametrize(
    "function",
    [
        lambda *_: timedelta(seconds=-1),
        lambda *_: 5,
        lambda *_: None,
        lambda: None,
        lambda *_: 1 / 0,
        leaves,
        lambda *_: float("nan"),
        lambda *_: Odd(),
    ],
    ids=[
        "negative",
        "a number",
        "nothing",
        "wrong arguments",
        "raises",
        "leaves",
        "no number",
        "compares as it likes",
    ],
)
def test_a_broken_function_gives_way_to_full_jitter_and_is_logged_once(function):
    policy = Policy(backoff=function)

    with capture_logs() as lines:
        waits = [backoff(policy, 1, ERROR, lambda: 0.5) for _ in range(3)]

    assert [seconds(wait) for wait in waits] == [1, 1, 1]
    assert [line["log_level"] for line in lines] == ["error"]


def test_of_a_traceback_its_end_is_kept_before_anybody_looks_through_it():
    """Masking megabytes takes seconds in which no lease is renewed, and they are not kept."""
    text = retry.traceback_text(LookupError("x" * 3_000_000 + " the end"))

    assert (len(text), text[-9:]) == (TRACEBACK_LIMIT, " the end\n")
