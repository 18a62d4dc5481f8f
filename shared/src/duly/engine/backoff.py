"""How long to wait before the next attempt: by the policy, the attempt and its error."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog

from duly.job import Policy

Chance = Callable[[], float]
"""Gives a number in [0, 1)."""
_told: set[Callable[..., Any]] = set()


def backoff(
    policy: Policy, attempt: int, error: BaseException, chance: Chance = random.random
) -> timedelta:
    """Return the wait after the `attempt`-th failed attempt (1 for the first).

    `full_jitter` is uniform in [0, min(cap, base * 2^(attempt-1))], as in "Exponential Backoff
    And Jitter" (Marc Brooker, 2015); `asynq` is asynq's n^4 + 15 + rand(0..29) * (n + 1) seconds
    with n retries before; `constant` is the base; a function is asked with the attempt and its
    error. None exceeds the cap but asynq's. A function that fails, or answers something else than
    a time that is not negative, is logged once, and full jitter takes its place.
    """
    if policy.backoff == "asynq":
        retries = attempt - 1
        return timedelta(seconds=retries**4 + 15 + int(chance() * 30) * (retries + 1))
    if policy.backoff == "constant":
        return min(policy.backoff_base, policy.backoff_cap)
    if callable(policy.backoff):
        wait = _asked(policy.backoff, attempt, error)
        if wait is not None:
            return min(wait, policy.backoff_cap)
    doublings = min(attempt - 1, 40)  # beyond that every cap is reached and floats overflow
    ceiling = min(
        policy.backoff_cap.total_seconds(), policy.backoff_base.total_seconds() * 2**doublings
    )
    return timedelta(seconds=chance() * ceiling)


def _asked(
    function: Callable[[int, BaseException], timedelta], attempt: int, error: BaseException
) -> timedelta | None:
    """Return what a policy's own function says; None when that is of no use."""
    try:
        wait = function(attempt, error)
        useful = wait >= timedelta(0)
    except Exception as broken:  # noqa: BLE001 - somebody's code; the task must not hang on it
        complain_once(function, "backoff failed, full jitter instead", repr(broken))
        return None
    if not useful:
        complain_once(function, "backoff is negative, full jitter instead", str(wait))
        return None
    return wait


def complain_once(function: Callable[..., Any], what: str, error: str) -> None:
    """Log that a policy's function is broken; once, not for each task that meets it."""
    if function not in _told:
        _told.add(function)
        name = getattr(function, "__qualname__", type(function).__name__)
        structlog.get_logger("duly.engine").error(
            f"Policy's {what}", function=name, error=error[:500]
        )
