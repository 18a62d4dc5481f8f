"""Jobs on orders."""

from datetime import timedelta

from duly.job import Job, Policy


class CheckPendingOrders(
    Job,
    kind="check_pending_orders",
    policy=Policy(
        queue="default",
        max_attempts=3,
        backoff="full_jitter",
        backoff_base=timedelta(seconds=0.5),
        backoff_cap=timedelta(seconds=1),
        timeout=timedelta(minutes=5),
    ),
):
    """Look at every pending order and log it with its customer, its items at DEBUG.

    Three attempts fit into the five seconds of its schedule; the next tick looks again anyway.
    """
