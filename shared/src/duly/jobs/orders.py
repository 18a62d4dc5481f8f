"""Jobs on orders."""

from datetime import timedelta

from pydantic import ConfigDict, Field

from duly.job import Job, Policy

_POLICY = Policy(
    queue="default",
    max_attempts=3,
    backoff="full_jitter",
    backoff_base=timedelta(seconds=0.5),
    backoff_cap=timedelta(seconds=1),
    timeout=timedelta(minutes=5),
)


def _is_none(value: object) -> bool:
    """Tell whether a field can be left out, which a release that does not know it accepts."""
    return value is None


class CheckPendingOrders(Job, kind="check_pending_orders", policy=_POLICY):
    """Look at every pending order and log it with its customer, its items at DEBUG.

    Three attempts fit into the five seconds of its schedule; the next tick looks again anyway.
    """


class CheckOrdersShard(
    Job,
    kind="check_orders_shard",
    policy=_POLICY.model_copy(update={"retention": timedelta(minutes=10)}),
):
    """Log the pending orders between two ids: a part of a check that several workers share.

    Its totals are kept until the summary has been written.
    """

    # In a rollout parts go from workers of one release to workers of the next one, and back.
    model_config = ConfigDict(extra="ignore")

    run_id: str
    """The task that divided the orders."""
    after: tuple[str, str] | None = None
    """The type and the text of an id; None: from the first order."""
    until: tuple[str, str] | None = None
    begun_ms: int | None = Field(None, exclude_if=_is_none)
    """When the check began, in ms since the epoch; None: when this part does."""
    since_ms: int | None = Field(None, exclude_if=_is_none)
    """When the last whole check began; None: not known, or of no importance."""


class SumUpPendingOrders(Job, kind="sum_up_pending_orders", policy=_POLICY):
    """Log the summary of a check, once all its shards have been logged."""

    model_config = ConfigDict(extra="ignore")

    run_id: str
    shards: int
    begun_ms: int
    """When the check began, in ms on the broker's clock."""
