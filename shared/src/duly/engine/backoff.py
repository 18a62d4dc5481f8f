"""How long to wait before the next attempt: pure functions of the policy and the attempt."""

import random
from collections.abc import Callable
from datetime import timedelta

from duly.job import Policy

Chance = Callable[[], float]
"""Gives a number in [0, 1)."""


def backoff(policy: Policy, attempt: int, chance: Chance = random.random) -> timedelta:
    """Return the wait after the `attempt`-th failed attempt (1 for the first).

    `full_jitter` is uniform in [0, min(cap, base * 2^(attempt-1))], as in "Exponential Backoff
    And Jitter" (Marc Brooker, 2015); `asynq` is asynq's n^4 + 15 + rand(0..29) * (n + 1) seconds
    with n retries before; `constant` is the base. None exceeds the cap but asynq's.
    """
    if policy.backoff == "asynq":
        retries = attempt - 1
        return timedelta(seconds=retries**4 + 15 + int(chance() * 30) * (retries + 1))
    if policy.backoff == "constant":
        return min(policy.backoff_base, policy.backoff_cap)
    doublings = min(attempt - 1, 40)  # beyond that every cap is reached and floats overflow
    ceiling = min(
        policy.backoff_cap.total_seconds(), policy.backoff_base.total_seconds() * 2**doublings
    )
    return timedelta(seconds=chance() * ceiling)
